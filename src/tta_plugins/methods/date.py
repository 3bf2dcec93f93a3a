"""DATE: moves the text embedding along the gradient of the look-ahead's reward, at chosen steps.

Notation (name -> paper): text -> c, rho -> rho, look.scores -> h(x0^(x_t, c)), original -> c_org, updates -> the update steps.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Literal

import attrs
import torch

from tta_core.protocols.method import Needs, Snapshot
from tta_core.protocols.variables import ControllableVariable, TextEmbedding
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact, Objective, as_rows
from tta_core.solving.position import Position
from tta_core.solving.problem import Problem
from tta_core.values.arguments import at_least
from tta_core.values.schedules import Every, Schedule, Window
from tta_core.values.transition import as_batch
from tta_core.values.typing import evolve, frozen

CITATION = """@inproceedings{na2025date,
  title = {Diffusion Adaptive Text Embedding for Text-to-Image Diffusion Models},
  author = {Na, Byeonghu and Park, Minsang and Sim, Gyuwon and Shin, Donghyeok and Bae, HeeSun and Kang, Mina and
            Kwon, Se Jung and Kang, Wanmo and Moon, Il-Chul},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2510.23974},
  archivePrefix = {arXiv}
}"""


@frozen
class DATE:
    """c <- c_start + rho * g / ||g||, g = grad_c [h(x0^(x_t, c)) - prior * mean (c - c_org)^2], at the steps in `updates`.

    Attributes:
        rho: length of a step; a share of the embedding's norm if `relative`, else absolute. The embedding of SD v1.5 has a norm of about
            250, so rho 0.5 is 0.002 of it.
        updates: the steps that update: by default the second half, because early look-aheads are inaccurate; the paper's tables use every
            tenth of 50.
        start: "current" steps from the current embedding, so that changes add up; "original" stays within rho of the original one.
        iterations: gradient steps per update.
        prior: weight of the mean squared distance to the original embedding, subtracted from the reward.
        normalise: False uses rho * g itself, the baseline with the unnormalised gradient.
        look: "clean" scores the look-ahead x0^; "noisy" scores the decoded next x with its noise, a baseline of the paper.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: `Exact()`; `Hybrid1()`, `Hybrid2()` or `ZerothOrder()` for a reward without gradient.
        variable: the steered variable; any variable works.

    Cost: plain sampling; at each update, for each gradient step, a row of the text branch, a decode and a reward, forward and backward.

    Source: DATE (arXiv 2510.23974), algorithm 1.
    Differs: the released code does not clamp the decoded image (`DATE.released()` does not either). It divides by the gradient's norm
    without a check: a zero gradient gives NaN there, and changes nothing here.
    """

    rho: float = attrs.field(default=0.5, validator=at_least(0))
    updates: Schedule = attrs.field(factory=lambda: Window(0.5, 1.0))
    start: Literal["current", "original"] = "current"
    iterations: int = attrs.field(default=1, validator=at_least(1))
    prior: float = attrs.field(default=0.0, validator=at_least(0))
    relative: bool = False
    normalise: bool = True
    look: Literal["clean", "noisy"] = "clean"
    clamp: bool = True
    estimator: Estimator = attrs.field(factory=Exact)
    variable: ControllableVariable = attrs.field(factory=TextEmbedding)

    citation: ClassVar[str] = CITATION

    @classmethod
    def released(cls) -> "DATE":
        """The settings of the authors' code."""
        return cls(updates=Every(10), clamp=False)

    @classmethod
    def fast(cls) -> "DATE":
        """Updates at every second step of the second half instead of every step: half the updates, of the same length.

        The embedding changes about half as much. For the loss in reward, see the page on performance.
        """
        return cls(updates=Every(2) * Window(0.5, 1.0))

    @property
    def needs(self) -> Needs:
        """A reward with a gradient; the paper samples with DDIM, eta 0."""
        return Needs(self.variable, gradient=self.estimator.needs_gradient)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, updating the embedding at the chosen steps; after an update the prediction is computed again."""
        problem = problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        original, used = self.variable.read(controls), controls
        length = self.rho * (steering.norm(original) if self.relative else torch.ones(len(problem.prompts)).to(state.x))

        for step in problem.steps:
            here = problem.at(state, step)
            objective = partial(self.objective, problem, here)
            for i in range(self.iterations if self.updates(step.index, total) else 0):
                current = steering.detached(self.variable.read(controls))
                evaluation, gradient = self.estimator(objective, current, problem, (step.index, i))
                yield evaluation.snapshot(step.index, total, controls, gradient)
                change = steering.scaled(steering.unit(gradient) if self.normalise else gradient, length)
                begin = original if self.start == "original" else current
                controls = self.variable.write(controls, steering.added(begin, change))

            with torch.no_grad():
                prediction = here.predict(controls)
                state = prediction.sample(controls.noise[step.index + 1])
            used = used.recorded(step.index, controls.at(step.index))
            if not self.updates(step.index, total):
                yield Snapshot(step.index, total, controls, prediction.x0)

        yield problem.result(total, evolve(controls, by_step=used.by_step), state.x)

    def objective(self, problem: Problem, here: Position, value: steering.Tensors) -> Objective:
        """h(x0^(x_t, c)) - prior * mean (c - c_org)^2 at a value of the variable."""
        controls = self.variable.write(problem.controls, value)
        prediction = here.predict(controls)
        noise = as_batch(controls.noise[here.step.index + 1], len(prediction.x0))
        look = problem.look_ahead(prediction.x0 if self.look == "clean" else prediction.sample(noise).x, self.clamp)
        original = as_rows(self.variable.read(problem.controls), value)
        prior = self.prior * steering.mean_square(steering.difference(value, original))
        return Objective(evolve(look, x0=prediction.x0), 1.0, {"prior": prior})
