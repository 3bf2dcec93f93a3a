"""Diffusion Posterior Sampling: moves the next x along the gradient of the residual's norm.

Notation (name -> paper): strength -> zeta_i, here.x0 -> x0^, the reward -> minus the residual's norm ||y - A(x0^)||, or its square.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core import Needs, Problem, Snapshot
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact
from tta_core.values.arguments import above
from tta_core.values.schedules import Every, Schedule
from tta_core.values.typing import Scores, evolve, frozen
from tta_plugins.methods.guidance import LookAhead, of_x0, transition_noise
from tta_plugins.methods.strength import Strength, strength_at

CITATION = """@inproceedings{chung2023dps,
  title = {Diffusion Posterior Sampling for General Noisy Inverse Problems},
  author = {Chung, Hyungjin and Kim, Jeongsol and McCann, Michael T. and Klasky, Marc L. and Ye, Jong Chul},
  booktitle = {International Conference on Learning Representations},
  year = {2023},
  eprint = {2209.14687},
  archivePrefix = {arXiv}
}"""


@frozen
class DPS:
    """x' = step(x) + strength dR(D(x0^)) / dx / divisor.

    Attributes:
        strength: zeta; the paper uses 0.3 to 1 for its measurements.
        divisor: "score": |R|, which TFG calls DPS for any reward; "norm": 2 sqrt|R|, the paper's rule if R is minus a square; "one": for an
            R that is already minus a norm.
        smallest: the lower bound of |R| in the division, which would grow without limit as the reward goes to 0.
        updates: the steps that are guided.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: how the gradient is computed.

    Noise keys: x' is sampled with row step + 1, child 0.
    Cost: each step 2 denoiser rows, 1 decode and 1 reward, forward and backward.
    Source: DPS (arXiv 2209.14687), algorithm 1; "score" is the reading of TFG (arXiv 2409.15761).
    Differs: the authors' norm is over the batch, here it is per sample; TFG evaluates the denoiser three times per step.
    """

    strength: Strength = 1.0
    divisor: Literal["score", "norm", "one"] = "score"
    smallest: float = attrs.field(default=1e-3, validator=above(0))
    updates: Schedule = attrs.field(factory=Every)
    clamp: bool = True
    estimator: Estimator = attrs.field(factory=Exact)

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """A gradient of the reward; the paper samples with DDPM, which is eta 1."""
        return Needs(gradient=self.estimator.needs_gradient, eta=1.0, moves_x=True)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, moving the next x at the guided steps."""
        problem = problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            here = problem.at(state, step)
            strength = strength_at(self.strength, step, problem.steps) if self.updates(step.index, total) else 0.0
            if strength:
                objective = LookAhead(problem, here, of_x0(problem, self.clamp))
                evaluation, gradient = self.estimator(objective, (state.x,), problem, (step.index, 0))
                yield evaluation.snapshot(step.index, total, controls, gradient)
                (change,) = steering.scaled(gradient, strength / self._divisor(evaluation.total))
                prediction = objective.prediction
                prediction = evolve(prediction, transition=prediction.transition.shifted(change))
            else:
                with torch.no_grad():
                    prediction = here.predict(controls)
                yield Snapshot(step.index, total, controls, prediction.x0)
            state = prediction.sample(transition_noise(problem, step, 0))
        yield problem.result(total, controls, state.x)

    def _divisor(self, scores: Scores) -> Scores:
        """The divisor of the gradient, per sample."""
        if self.divisor == "one":
            return torch.ones_like(scores)
        size = scores.abs().clamp_min(self.smallest)
        return size if self.divisor == "score" else 2 * size.sqrt()
