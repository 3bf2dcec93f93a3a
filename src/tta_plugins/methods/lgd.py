"""LGD-MC: moves the next x along the gradient of a Monte Carlo expectation of exp(R) around the look-ahead.

Notation (name -> paper): samples -> n, strength -> the guidance weight, radius r_t = sigma / sqrt(1 + sigma^2) = s / sqrt(a^2 + s^2).
"""

import math
from collections.abc import Iterator
from typing import ClassVar

import attrs
import torch

from tta_core import Needs, Problem, Snapshot
from tta_core.solving.estimators import Exact, ZerothOrder
from tta_core.values.arguments import above, at_least
from tta_core.values.schedules import Every, Schedule
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.guidance import LookAhead, smoothed, transition_noise
from tta_plugins.methods.strength import Strength, strength_at

CITATION = """@inproceedings{song2023lgd,
  title = {Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation},
  author = {Song, Jiaming and Zhang, Qinsheng and Yin, Hongxu and Mardani, Morteza and Liu, Ming-Yu and Kautz, Jan and
            Chen, Yongxin and Vahdat, Arash},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  url = {https://proceedings.mlr.press/v202/song23k.html}
}"""


@frozen
class LGD:
    """x' = step(x) + strength d/dx log (1/n) sum_i exp(weight R(D(x0^ + r_t n_i))).

    Attributes:
        strength: factor of the gradient.
        samples: n, Monte Carlo samples of each step.
        weight: the reward's weight in the exponential, 1 / temperature.
        radius: factor on r_t; 0 uses x0^ alone.
        updates: the steps that are guided.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: how the gradient is computed; those that perturb images do not estimate the expectation.

    Noise keys: x' is sampled with row step + 1, child 0; then n_i is `like(x0, step, 0, 1, i)`.
    Cost: each step 2 denoiser rows, n decodes and n rewards, forward and backward.
    Source: Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation (Song et al., ICML 2023), eq. 10 to 12.
    Differs: TFG's code divides the gradient by n again, although the argument of the logarithm is already a mean; for that, give
    strength / n.
    """

    strength: Strength = 1.0
    samples: int = attrs.field(default=10, validator=at_least(1))
    weight: float = attrs.field(default=1.0, validator=above(0))
    radius: float = attrs.field(default=1.0, validator=at_least(0))
    updates: Schedule = attrs.field(factory=Every)
    clamp: bool = True
    estimator: Exact | ZerothOrder = attrs.field(factory=Exact)

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """A gradient of the reward."""
        return Needs(gradient=self.estimator.needs_gradient, eta=1.0, moves_x=True)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, moving the next x at the guided steps."""
        problem = problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            here, noise = problem.at(state, step), transition_noise(problem, step, 0)
            strength = strength_at(self.strength, step, problem.steps) if self.updates(step.index, total) else 0.0
            if strength:
                radius = self.radius * step.s / math.hypot(step.a, step.s)
                noises = [radius * problem.noises.like(state.x, step.index, 0, 1, i) for i in range(self.samples)]
                objective = LookAhead(problem, here, smoothed(problem, self.clamp, noises, self.weight))
                evaluation, gradient = self.estimator(objective, (state.x,), problem, (step.index, 0, 0))
                yield evaluation.snapshot(step.index, total, controls, gradient)
                prediction = objective.prediction
                prediction = evolve(prediction, transition=prediction.transition.shifted(strength * gradient[0]))
            else:
                with torch.no_grad():
                    prediction = here.predict(controls)
                yield Snapshot(step.index, total, controls, prediction.x0)
            state = prediction.sample(noise)
        yield problem.result(total, controls, state.x)
