"""FreeDoM: moves the next x along the gradient of an energy of the look-ahead, with time travel at chosen steps.

Notation (name -> paper): strength -> rho_t, repetitions -> r_t, gradient -> - grad_x E(c, x_0|t), step.back -> the way back of time travel.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core import Needs, Problem, Snapshot
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact
from tta_core.values.arguments import at_least
from tta_core.values.schedules import Every, Schedule, Window
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.guidance import (
    LookAhead,
    back_noise,
    of_x0,
    refuse_without_guidance,
    share_of_guidance,
    share_of_noise,
    transition_noise,
)
from tta_plugins.methods.strength import Increasing, Strength, strength_at

CITATION = """@inproceedings{yu2023freedom,
  title = {{FreeDoM}: Training-Free Energy-Guided Conditional Diffusion Model},
  author = {Yu, Jiwen and Wang, Yinhuai and Zhao, Chen and Ghanem, Bernard and Zhang, Jian},
  booktitle = {International Conference on Computer Vision},
  year = {2023},
  eprint = {2303.09833},
  archivePrefix = {arXiv}
}"""


@frozen
class FreeDoM:
    """x' = step(x) + rho_t dR(D(x0^)) / dx; with time travel, x = back(x') and the step is repeated.

    Attributes:
        strength: rho_t; its unit depends on `relative`.
        relative: "no": rho_t, in units of x per unit of the gradient; "guidance": rho_t times w rms(e_text - e_null) / rms(gradient), per
            sample, so that the step is a share of the change by guidance, for any scale of the reward; "noise": rho_t times
            c1 (s / a) rms(e) / rms(gradient), with c1 the share of x0 in the posterior's mean.
        updates: the steps that are guided.
        repetitions: how often a step of `travel` is repeated; before each repetition noise is added to the next x.
        travel: the steps with time travel.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: how the gradient is computed.

    Noise keys: x' of repetition r is sampled with row step + 1, child r; the noise back after it is `like(x, step, r)`, except after the
    last.
    Cost: each repetition 2 denoiser rows, 1 decode and 1 reward, forward and backward.
    Source: FreeDoM (arXiv 2303.09833), algorithm 2; the default schedule of rho is TFG's (arXiv 2409.15761). The authors' settings for
    faces, with 100 steps and none guided at the end, are 0.02 with "noise" for CLIP, and `OfSignal` of 0.2 (parsing maps), 20
    (sketches), 500 (landmarks) or 100 (face ids), where their sampler uses std s' / 2 (`Step.std`).
    Differs: the released norms are over the whole batch and divide by a zero gradient; here they are per sample, and a zero gradient
    changes nothing. Their window is given by indices of 100 steps, here by shares of the run.
    """

    strength: Strength = attrs.field(factory=lambda: Increasing(1.0))
    relative: Literal["no", "guidance", "noise"] = "no"
    updates: Schedule = attrs.field(factory=Every)
    repetitions: int = attrs.field(default=1, validator=at_least(1))
    travel: Schedule = attrs.field(factory=Every)
    clamp: bool = True
    estimator: Estimator = attrs.field(factory=Exact)

    citation: ClassVar[str] = CITATION

    @classmethod
    def released(cls) -> "FreeDoM":
        """The settings of the authors' code for Stable Diffusion: run it with 100 steps and guidance 5."""
        return cls(0.2, "guidance", Window(0.3, 0.7), 3, Window(0.3, 0.6), clamp=False)

    @property
    def needs(self) -> Needs:
        """A gradient of the reward; the authors sample with eta 1."""
        return Needs(gradient=self.estimator.needs_gradient, eta=1.0, moves_x=True, one_trajectory=self.repetitions == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, moving the next x at the guided steps, with time travel at the chosen ones."""
        problem = problem.check(self.needs)
        if self.relative == "guidance":
            refuse_without_guidance(problem)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            rho = strength_at(self.strength, step, problem.steps) if self.updates(step.index, total) else 0.0
            repetitions = self.repetitions if self.travel(step.index, total) else 1
            for r in range(repetitions):
                here = problem.at(state, step)
                if rho:
                    objective = LookAhead(problem, here, of_x0(problem, self.clamp))
                    evaluation, gradient = self.estimator(objective, (state.x,), problem, (step.index, r, 0))
                    yield evaluation.snapshot(step.index, total, controls, gradient)
                    prediction = objective.prediction
                    if self.relative == "guidance":
                        gradient = steering.scaled(gradient, share_of_guidance(problem, here, prediction, gradient))
                    elif self.relative == "noise":
                        gradient = steering.scaled(gradient, share_of_noise(step, prediction, gradient))
                    prediction = evolve(prediction, transition=prediction.transition.shifted(rho * gradient[0]))
                else:
                    with torch.no_grad():
                        prediction = here.predict(controls)
                    yield Snapshot(step.index, total, controls, prediction.x0)
                after = prediction.sample(transition_noise(problem, step, r))
                if r + 1 < repetitions:
                    state = evolve(state, x=step.back(after.x, back_noise(problem, step, r, after.x)))
            state = after
        yield problem.result(total, controls, state.x)
