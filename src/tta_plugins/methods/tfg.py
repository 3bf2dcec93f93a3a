"""Training-Free Guidance: moves x and the clean estimate along a smoothed reward, with recurrence; it generalises earlier methods.

Notation (name -> paper): rho -> rho_t, mu -> mu_t, sigma -> sigma-bar, samples -> n of Monte Carlo, repetitions -> N_recur,
iterations -> N_iter, objective -> f~, variance -> Delta_var (Delta_t), mean -> Delta_mean (Delta_0).
"""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core import Needs, Prediction, Problem, Snapshot, Step
from tta_core.solving.estimators import Exact, Objective, ZerothOrder
from tta_core.solving.position import Position
from tta_core.values.arguments import above, at_least
from tta_core.values.schedules import Every, Schedule
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.methods.guidance import LookAhead, back_noise, smoothed, transition_noise
from tta_plugins.methods.strength import Increasing, Strength, strength_at

CITATION = """@inproceedings{ye2024tfg,
  title = {{TFG}: Unified Training-Free Guidance for Diffusion Models},
  author = {Ye, Haotian and Lin, Haowei and Han, Jiaqi and Xu, Minkai and Liu, Sheng and Liang, Yitao and Ma, Jianzhu
            and Zou, James and Ermon, Stefano},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2409.15761},
  archivePrefix = {arXiv}
}"""


@frozen
class TFG:
    """x' = step(x) + (a'/a) rho_t d f~(x0^(x)) / dx + a' Delta_0, f~(y) = log (1/n) sum_i exp(weight R(D(y + n_i))).

    Delta_0 = y - x0^ after `iterations` steps y <- y + mu_t d f~(y) / dy from x0^.

    Attributes:
        rho, mu: strengths of the guidance through x and at the clean estimate; 0 switches that part off.
        sigma: standard deviation of n_i; with 0 there is one sample, the estimate itself.
        sigma_schedule: "decrease": sigma s / sqrt(a^2 + s^2); "constant": sigma.
        samples: n, Monte Carlo samples, the same in both parts of a repetition.
        iterations: inner steps at the clean estimate.
        repetitions: how often a step is repeated; before each repetition noise is added to the next x.
        weight: the reward's weight in the exponential, 1 / temperature.
        updates: the steps that are guided.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: how the gradients are computed; those that perturb images do not estimate the expectation.

    Noise keys of repetition r, in the order of use: n_i is `like(x, step, r, 1, i)`; x' is sampled with row step + 1,
    child r; the noise back is `like(x, step, r)`, except after the last.
    Cost: each repetition 2 denoiser rows, forward and backward (forward alone with rho 0), and n (1 + iterations) decodes and rewards.
    Source: TFG (arXiv 2409.15761), algorithm 1; the defaults are those of its style transfer.
    Differs: latents are never clamped, which the released code does by default; its `clip_scale` has no effect for images. At a step
    with a = 0, where x contains nothing of x0, rho is 0.
    """

    rho: Strength = attrs.field(factory=lambda: Increasing(0.25))
    mu: Strength = attrs.field(factory=lambda: Increasing(2.0))
    sigma: float = attrs.field(default=0.1, validator=at_least(0))
    sigma_schedule: Literal["decrease", "constant"] = "decrease"
    samples: int = attrs.field(default=1, validator=at_least(1))
    iterations: int = attrs.field(default=4, validator=at_least(0))
    repetitions: int = attrs.field(default=1, validator=at_least(1))
    weight: float = attrs.field(default=1.0, validator=above(0))
    updates: Schedule = attrs.field(factory=Every)
    clamp: bool = True
    estimator: Exact | ZerothOrder = attrs.field(factory=Exact)

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """A gradient of the reward; the authors sample with eta 1."""
        return Needs(gradient=self.estimator.needs_gradient, eta=1.0, moves_x=True, one_trajectory=self.repetitions == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample; at each step guide through x and at the clean estimate, and repeat the step."""
        problem = problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            guided = bool(self.updates(step.index, total))
            for r in range(self.repetitions):
                here = problem.at(state, step)
                if guided:
                    snapshot, prediction = self.guided(problem, here, r)
                else:
                    with torch.no_grad():
                        prediction = here.predict(controls)
                    snapshot = Snapshot(step.index, total, controls, prediction.x0)
                yield snapshot
                after = prediction.sample(transition_noise(problem, step, r))
                if r + 1 < self.repetitions:
                    state = evolve(state, x=step.back(after.x, back_noise(problem, step, r, after.x)))
            state = after
        yield problem.result(total, controls, state.x)

    def guided(self, problem: Problem, here: Position, r: int) -> tuple[Snapshot, Prediction]:
        """One repetition of a guided step: the snapshot, and the prediction with a shifted transition."""
        step, x, controls, total = here.step, here.state.x, problem.controls, len(problem.steps)
        rho = strength_at(self.rho, step, problem.steps) if step.a > 0 else 0.0
        mu = strength_at(self.mu, step, problem.steps)
        clean = smoothed(problem, self.clamp, self._noises(problem, step, r, x), self.weight)
        look_ahead = LookAhead(problem, here, clean)
        evaluation: Objective | None = None
        shift = torch.zeros_like(x)
        gradient: tuple[Latents, ...] = ()
        if rho:
            evaluation, gradient = self.estimator(look_ahead, (x,), problem, (step.index, r, 0))
            shift = step.a_next / step.a * rho * gradient[0]
        prediction = look_ahead.prediction
        y = prediction.x0
        for i in range(self.iterations if mu else 0):
            inner, change = self.estimator(clean, (y,), problem, (step.index, r, 2, i))
            evaluation, gradient = (evaluation, gradient) if evaluation else (inner, change)
            y = y + mu * change[0]
        shift = shift + step.a_next * (y - prediction.x0)
        snapshot = (
            evaluation.snapshot(step.index, total, controls, gradient)
            if evaluation
            else Snapshot(step.index, total, controls, prediction.x0)
        )
        return snapshot, evolve(prediction, transition=prediction.transition.shifted(shift))

    def _noises(self, problem: Problem, step: Step, r: int, x: Latents) -> list[Latents]:
        """The Monte Carlo noises of one repetition."""
        if self.sigma == 0:
            return [torch.zeros_like(x)]
        sigma = self.sigma * (step.s / math.hypot(step.a, step.s) if self.sigma_schedule == "decrease" else 1.0)
        return [sigma * problem.noises.like(x, step.index, r, 1, i) for i in range(self.samples)]
