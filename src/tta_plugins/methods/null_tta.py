"""Null-TTA: the null embedding ascends the reward of the look-ahead under a KL penalty, and the best of K children lives on.

Notation (name -> paper): null -> phi, particles -> K, reward_weight -> lambda_1, penalty_weight -> lambda_2, variance -> sigma_phi^2,
rate -> gamma, step.alpha -> alpha_t, reference -> the prediction at the unsteered phi, inner -> n_t.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Literal, cast

import attrs
import torch
from attrs.validators import optional

from tta_core import ControllableVariable, Controls, Needs, NullEmbedding, Prediction, Problem, Snapshot, Step
from tta_core.errors import IncompatibleError, InputError
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact, Objective, as_rows
from tta_core.solving.position import Position
from tta_core.values.arguments import above, at_least
from tta_core.values.schedules import Every, Geometric, GeometricDecay, Schedule
from tta_core.values.transition import as_batch
from tta_core.values.typing import Scores, evolve, frozen


@frozen
class NullTTA:
    """Ascends J(phi') = l1 R(x0^) - decay l2 KL - decay l2 ||phi' - phi||^2 / (2 sigma^2) at every step, then keeps the best of K children.

    Attributes:
        particles: K, candidates at the start and children at each step; 1 selects nothing.
        inner_min, inner_max: inner steps of the first and of the last time steps.
        rate: how fast inner steps grow and penalties decay, per step; both depend on the step's index, so 50 steps go half way.
        updates: the steps with an inner loop: all in the paper; children are drawn and chosen at every step.
        reward_weight: l1, for rewards of the size of a cosine; a reward of size 100 wants 1.
        penalty_weight, variance: l2 and sigma^2.
        pooled_variance: sigma^2 of the pooled vector, whose prior is its own; None: as `variance`.
        kernel: whose KL: "training", one training step's, as in the paper; "sampler", the sampler's own transitions (in nats).
        guidance_factor: "exact" takes ||e~' - e~||^2; "released" multiplies it by s^2 / (s - 1)^2, as the authors' code does.
        estimator: `Exact()`, or `ZerothOrder()` and others for a reward without gradient.
        optimizer: renewed at each time step; the variable is carried over in float32.
        variable: the null embedding; any other or a product works.

    Source: Null-TTA (arXiv 2511.20889), algorithm 1.
    Differs: the text branch is evaluated once per step instead of in each inner step, and the chosen child's evaluation is the next step's
    first; the numbers are the same. Noise is keyed by (seed, sample, step) instead of by the time alone. The released code's penalty
    is 33 % above what guidance implies (s = 7.5); `NullTTA.released()` copies that. A last step without noise has no "sampler" KL: only
    the prior acts there. Not copied: the U-Net in half precision with decoder and reward in float32 (the policies "fp16" and "bf16" are
    near), negative prompts that are not truncated, and the one that the authors' script for SDXL has by default: give your own.
    """

    particles: int = attrs.field(default=3, validator=at_least(1))
    inner_min: int = attrs.field(default=5, validator=at_least(0))
    inner_max: int = 25
    rate: float = attrs.field(default=0.008, validator=at_least(0))
    reward_weight: float = attrs.field(default=100.0, validator=at_least(0))
    penalty_weight: float = attrs.field(default=0.002, validator=at_least(0))
    variance: float = attrs.field(default=0.01, validator=above(0))
    pooled_variance: float | None = attrs.field(default=None, validator=optional(above(0)))
    kernel: Literal["training", "sampler"] = "training"
    guidance_factor: Literal["exact", "released"] = "exact"
    estimator: Estimator = attrs.field(factory=Exact)
    optimizer: steering.UpdateRule = attrs.field(factory=lambda: steering.Adam(lr=1e-2))
    variable: ControllableVariable = attrs.field(factory=NullEmbedding)
    updates: Schedule = attrs.field(factory=Every)

    citation: ClassVar[str] = (
        "@inproceedings{nulltta2026, title={Test-Time Alignment of Text-to-Image Diffusion Models via Null-Text Embedding Optimisation}, "
        "booktitle={CVPR}, year={2026}, note={arXiv:2511.20889}}"
    )

    @classmethod
    def released(cls, *, pooled: bool = False) -> "NullTTA":
        """The settings of the authors' code, switch for switch; run it with 100 steps.

        Their script for SDXL is `pooled=True`: the pooled null embedding is steered too, under a prior of its own and the same variance.
        Its guidance is 5.
        """
        return cls(guidance_factor="released", variable=NullEmbedding(pooled=pooled))

    def __attrs_post_init__(self) -> None:
        if self.inner_max < self.inner_min:
            raise InputError(f"NullTTA.inner_max is {self.inner_max}, but inner steps grow from inner_min, {self.inner_min}: give no less.")

    @property
    def needs(self) -> Needs:
        """DDIM with eta 1, whose children differ."""
        training = self.kernel == "training"
        return Needs(
            self.variable,
            gradient=self.estimator.needs_gradient,
            betas=training,
            eta=1.0,
            stochastic=not training,
            children=self.particles > 1,
            one_trajectory=self.particles == 1,
        )

    def inner(self, index: int, total: int) -> int:
        """n_t = round(n_min + (n_max - n_min) min(1, (1 + rate)^index - 1)) at the steps in `updates`, else 0."""
        if not self.updates(index, total):
            return 0
        return round(self.inner_min + (self.inner_max - self.inner_min) * Geometric(self.rate)(index, total))

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Choose a start; at each step ascend J, draw K children, keep the best."""
        problem = problem.check(self.needs)
        if self.guidance_factor == "released" and (problem.guidance == 1 or isinstance(problem.guidance, Schedule)):
            raise IncompatibleError(
                f"Cannot use guidance_factor='released' with guidance {problem.guidance}. This is because it multiplies the penalty by "
                "s^2 / (s - 1)^2, for one s above 1. Use guidance_factor='exact', or such a guidance."
            )
        total, controls, used = len(problem.steps), problem.controls, problem.controls
        noises = problem.children(controls, 0, self.particles)
        here, controls = self._best(problem, problem.at(problem.started(noises), problem.steps[0]), controls.branched(0, noises))

        for step in problem.steps:
            if inner := self.inner(step.index, total):
                with torch.no_grad():
                    reference = here.predict(problem.controls)
                objective = partial(self.objective, problem, here, reference)
                value = steering.leaves(self.variable.read(controls))
                optimizer = self.optimizer(value)
                for k in range(inner):
                    seen, gradient = self.estimator(objective, value, problem, (step.index, k))
                    yield seen.snapshot(step.index, total, self.variable.write(controls, steering.detached(value)), gradient)
                    steering.ascend(optimizer, value, gradient)
                controls = self.variable.write(controls, steering.detached(value))

            used = used.recorded(step.index, controls.at(step.index))
            noises = problem.children(controls, step.index + 1, self.particles)
            with torch.no_grad():
                children = here.predict(controls).branch(noises)
            controls = controls.branched(step.index + 1, noises)
            if step.index + 1 < total:
                here, controls = self._best(problem, problem.at(children, problem.steps[step.index + 1]), controls)

        yield problem.result(total, evolve(controls, by_step=used.by_step), children.x)

    def objective(self, problem: Problem, here: Position, reference: Prediction, value: steering.Tensors) -> Objective:
        """J at a value of the variable: l1 R - decay l2 (KL + sum ||phi' - phi||^2 / (2 sigma^2)), the sum over the steered tensors."""
        controls = self.variable.write(problem.controls, value)
        prediction = here.predict(controls)
        look = problem.look_ahead(prediction.x0)
        original = as_rows(self.variable.read(problem.controls), value)
        weight = self.penalty_weight * GeometricDecay(self.rate)(here.step.index, len(problem.steps))
        divergence = self._divergence(prediction, reference, here.step, problem)
        penalties = {"divergence": weight * divergence, "prior": weight * self._distance(steering.difference(value, original))}
        return Objective(look, self.reward_weight, penalties)

    def _distance(self, moved: steering.Tensors) -> Scores:
        """sum ||phi' - phi||^2 / (2 sigma^2): a pooled vector has two dimensions, tokens three and noises five."""
        variances = [self.pooled_variance if tensor.dim() == 2 and self.pooled_variance else self.variance for tensor in moved]
        priors = [steering.norm_square((tensor,)) / (2 * variance) for tensor, variance in zip(moved, variances, strict=True)]
        return torch.stack(priors).sum(0)

    def _divergence(self, prediction: Prediction, reference: Prediction, step: Step, problem: Problem) -> Scores:
        """KL of the transitions; "training": beta / (2 alpha (1 - abar)) ||e~' - e~||^2, the KL of one training step."""
        rows, factor = prediction.x0.shape[0], 1.0
        if self.guidance_factor == "released":
            guidance = cast(float, problem.guidance)
            factor = (guidance / (guidance - 1)) ** 2
        if self.kernel == "sampler":
            deterministic_end = step.index + 1 == len(problem.steps) and prediction.transition.std == 0
            kl = 0 if deterministic_end else prediction.transition.kl(reference.transition.repeated(rows))
            return factor * kl + prediction.x0.new_zeros(rows)
        alpha = cast(float, step.alpha)
        coefficient = (1 - alpha) / (2 * alpha * (step.s**2 / (step.a**2 + step.s**2)))
        return factor * coefficient * (prediction.eps - as_batch(reference.eps, rows)).square().flatten(1).sum(1)

    @staticmethod
    def _best(problem: Problem, children: Position, controls: Controls) -> tuple[Position, Controls]:
        """The position of each sample's best child and its controls, by the reward of its look-ahead; a single child is not scored."""
        samples = len(problem.prompts)
        if children.state.x.shape[0] == samples:
            return children, controls
        with torch.no_grad():
            rows = steering.best(problem.look(children.predict(controls).x0).scores, samples)
        return children.take(rows), controls[rows]
