"""Null-text inversion: x_T of an image by DDIM inversion, and a null embedding for each step so that guided sampling follows its path.

Notation (name -> paper): path -> z*_T .. z*_0, null -> the optimised null embedding of a step, inner -> N.
"""

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from tta_core.errors import IncompatibleError
from tta_core.protocols.variables import NullEmbedding
from tta_core.solving import steering
from tta_core.solving.compatibility import stds_of
from tta_core.solving.problem import Problem
from tta_core.values.arguments import at_least
from tta_core.values.controls import Controls
from tta_core.values.trajectory import State, Step
from tta_core.values.typing import Latents, evolve, frozen

CITATION = """@inproceedings{mokady2023nulltext,
  title = {Null-text Inversion for Editing Real Images using Guided Diffusion Models},
  author = {Mokady, Ron and Hertz, Amir and Aberman, Kfir and Pritch, Yael and Cohen-Or, Daniel},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2023},
  eprint = {2211.09794},
  archivePrefix = {arXiv}
}"""


@frozen
class NullTextInversion:
    """Controls with which a deterministic sampler reproduces an image under guidance: x_T, and one null embedding per step.

    Attributes:
        inner: most gradient steps at each step.
        lr: Adam's learning rate at the first step; it falls by 1 % of this value at each of the first 100 steps.
        tolerance: an inner loop ends when its mean square error is below tolerance (1 + 2 i) at step i; 0: never.

    Source: null-text inversion (arXiv 2211.09794), algorithm 1.
    Differs: errors are per sample, so that each sample of a batch is independent; the text branch is evaluated once per step.
    """

    inner: int = attrs.field(default=10, validator=at_least(1))
    lr: float = attrs.field(default=0.01, validator=at_least(0))
    tolerance: float = attrs.field(default=1e-5, validator=at_least(0))

    def __call__(self, problem: Problem, x0: Latents) -> Controls:
        """The controls of these clean latents, for the prompt of the problem. Raises `IncompatibleError` without guidance."""
        if problem.controls.null is None or problem.guidance == 1:
            raise IncompatibleError(
                "Cannot use null-text inversion without guidance. This is because the null embedding then has no effect. Use a "
                "guidance above 1 and a backbone with a null embedding."
            )
        noisy = next((index for index, std in enumerate(stds_of(problem.scheduler)) if std), None)
        if noisy is not None:
            raise IncompatibleError(
                f"Cannot use null-text inversion with a sampler whose step {noisy} adds noise. This is because the noise would lead away "
                "from the image. Use a deterministic sampler, eta=0, or ddpm-inversion."
            )
        path = ddim_inversion(problem, x0)
        state, controls, used = State(path[0]), problem.controls, problem.controls
        for step, target in zip(problem.steps, path[1:], strict=True):
            controls = self._fitted(problem, state, step, controls, target)
            used = used.recorded(step.index, controls)
            with torch.no_grad():
                state = State(problem.at(state, step).predict(controls).transition.mean)
        noise = problem.controls.noise.clone()
        noise[0] = path[0] / problem.scheduler.initial_std
        return evolve(problem.controls, noise=noise, by_step=used.by_step)

    def _fitted(self, problem: Problem, state: State, step: Step, controls: Controls, target: Latents) -> Controls:
        """The null embedding at which the step leads to the target."""
        variable, here = NullEmbedding(), problem.at(state, step)
        value = steering.leaves(variable.read(controls))
        optimizer = steering.Adam(lr=self.lr * max(0.0, 1 - step.index / 100))(value)
        done = torch.zeros(len(target), dtype=torch.bool, device=target.device)
        for _ in range(self.inner):
            error = (here.predict(variable.write(controls, value)).transition.mean - target).square().flatten(1).mean(1)
            gradient = torch.autograd.grad(error.sum(), value)
            before = steering.detached(value)
            steering.ascend(optimizer, value, tuple(-tensor for tensor in gradient))
            _keep(value, before, done)
            done |= error.detach() < self.tolerance * (1 + 2 * step.index)
            if done.all():
                break
        return variable.write(controls, steering.detached(value))


def ddim_inversion(problem: Problem, x0: Latents) -> list[Latents]:
    """x_T .. x_0 of the trajectory on which a deterministic sampler without guidance reaches x0; it uses the text branch alone.

    The network gets the time of the noisier end of each step. Source: DDIM (arXiv 2010.02502), section 4.3.
    """
    plain, path = evolve(problem, guidance=1.0), [x0]
    for step in reversed(problem.steps):
        at = State(path[0])
        with torch.no_grad():
            output = plain.at(at, step).branch("text", problem.controls.at(step.index).text)
            path.insert(0, _arrival(problem, at, output, step))
    return path


def _arrival(problem: Problem, state: State, output: Latents, step: Step) -> Latents:
    """a x0^ + s e at the step's start, with x0^ from x at the step's end and the noise level of that end."""
    start = evolve(step, a=step.a_next, s=step.s_next)
    if start.s == 0:
        return step.a * state.x + step.s * problem.scheduler.predict(state, output, step).eps
    prediction = problem.scheduler.predict(state, output, start)
    return step.a * prediction.x0 + step.s * prediction.eps


def _keep(value: steering.Tensors, before: steering.Tensors, rows: Bool[Tensor, " b"]) -> None:
    """Undoes the update of the samples whose loop has ended."""
    with torch.no_grad():
        for tensor, old in zip(value, before, strict=True):
            tensor.copy_(torch.where(rows.view(-1, *[1] * (tensor.dim() - 1)), old, tensor))
