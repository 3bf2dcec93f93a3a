"""Shared parts of the methods that guide x: the reward of the look-ahead as a function of x or of x0, and the noises of a repetition."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange

from tta_core import Prediction, Problem, Step
from tta_core.errors import IncompatibleError
from tta_core.solving import steering
from tta_core.solving.estimators import Evaluate, Objective
from tta_core.solving.position import Position
from tta_core.values.schedules import at_step
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, Scores, evolve


def of_x0(problem: Problem, clamp: bool) -> Evaluate:
    """R(D(x0)) as a function of clean latents (x0,), rows `(k b)`."""
    return lambda value: Objective(problem.look_ahead(value[0], clamp), 1.0, {})


def smoothed(problem: Problem, clamp: bool, noises: Sequence[Latents], weight: float) -> Evaluate:
    """log (1/n) sum_i exp(weight R(D(x0 + n_i))): an estimate of log E[exp(weight R)] around x0; rows `(k b)`.

    The scores of the returned `look` are these logarithms; its images are those of the first noise.
    """

    def evaluate(value: steering.Tensors) -> Objective:
        (x0,) = value
        rows, count = x0.shape[0], len(noises)
        moved = torch.cat([x0 + as_batch(noise, rows) for noise in noises])
        look = problem.look_ahead(moved, clamp)
        scores = rearrange(weight * look.scores, "(n r) -> n r", n=count)
        total = torch.logsumexp(scores, 0) - math.log(count)
        return Objective(evolve(look, x0=x0, images=look.images[:rows], scores=total, parts={}), 1.0, {})

    return evaluate


class LookAhead:
    """An objective of clean latents as a function of (x,), rows `(k b)`, through the look-ahead x0^(x); both guidance branches are
    differentiated.

    After a call, `prediction` is the prediction at x; with `null_alone` the reward uses the estimate of the null branch alone.
    """

    def __init__(self, problem: Problem, here: Position, clean: Evaluate, null_alone: bool = False) -> None:
        self.problem, self.here, self.clean = problem, here, clean
        self.null = problem.controls.at(here.step.index).null if null_alone else None
        self._prediction: Prediction | None = None

    def __call__(self, value: steering.Tensors) -> Objective:
        """The objective at x."""
        (x,) = value
        state = evolve(self.here.state.repeated(x.shape[0]), x=x)
        there = self.problem.at(state, self.here.step)
        if self.null is not None:
            return self.clean((self.problem.scheduler.predict(state, there.branch("null", self.null), self.here.step).x0,))
        prediction = there.predict(self.problem.controls)
        self._prediction = prediction[: len(self.problem.prompts)].detached()
        return self.clean((prediction.x0,))

    @property
    def prediction(self) -> Prediction:
        """The prediction at x from both branches, without a graph."""
        with torch.no_grad():
            return self._prediction or self.here.predict(self.problem.controls)


def transition_noise(problem: Problem, step: Step, repetition: int) -> Latents:
    """The noise of one repetition of a step: that of the controls for the first, then that of child r of row step + 1."""
    row = step.index + 1
    return problem.controls.noise[row] if repetition == 0 else problem.noises(row, repetition)


def back_noise(problem: Problem, step: Step, repetition: int, x: Latents) -> Latents:
    """The noise that is added to x after one repetition of a step, before the next one."""
    return problem.noises.like(x, step.index, repetition)


def share_of_guidance(problem: Problem, here: Position, prediction: Prediction, gradient: steering.Tensors) -> Scores:
    """w rms(e_text - e_null) / rms(gradient) per sample: scales a gradient to the length of guidance; 0 for a zero gradient."""
    text, null = (problem.scheduler.predict(here.state, prediction.outputs[name], here.step).eps for name in ("text", "null"))
    return at_step(problem.guidance, here.step.index, len(problem.steps)) * _ratio(text - null, gradient)


def share_of_noise(step: Step, prediction: Prediction, gradient: steering.Tensors) -> Scores:
    """c1 (s / a) rms(e) / rms(gradient) per sample, with c1 the share of x0 in the posterior's mean; 0 for a zero gradient or if a is 0."""
    if step.a == 0:
        return torch.zeros_like(gradient[0][:, 0, 0, 0])
    share = step.a_next * (1 - (step.a * step.s_next / (step.a_next * step.s)) ** 2)
    return share * step.s / step.a * _ratio(prediction.eps, gradient)


def _ratio(reference: Latents, gradient: steering.Tensors) -> Scores:
    """rms(reference) / rms(gradient) per sample; 0 for a zero gradient."""
    target, length = (steering.mean_square(value).sqrt() for value in ((reference,), gradient))
    return torch.where(length > 0, target / length.clamp_min(torch.finfo(length.dtype).tiny), torch.zeros_like(length))


def refuse_without_guidance(problem: Problem) -> None:
    """Raises `IncompatibleError` if a step has no classifier-free guidance, to which the strength is relative."""
    total = len(problem.steps)
    lowest = min(at_step(problem.guidance, index, total) for index in range(total))
    if lowest <= 1 or problem.controls.null is None:
        raise IncompatibleError(
            f"Cannot use relative='guidance' with guidance {lowest:g}. This is because the strength is relative to classifier-free "
            "guidance, and up to 1 there is none. Use relative='no', or a guidance above 1 at every step."
        )
