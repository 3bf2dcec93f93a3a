"""Null-TTA: optimises the null embedding by the look-ahead's reward under a KL penalty, and keeps the best of K children at each step.

Notation (name -> paper): null -> phi, particles -> K, reward_weight -> lambda_1, penalty_weight -> lambda_2, variance -> sigma_phi^2,
rate -> gamma, step.alpha -> alpha_t, reference -> the prediction at the unsteered phi, inner -> n_t.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Literal

import attrs
import torch
from attrs.validators import optional

from tta_core import ControllableVariable, Needs, NullEmbedding, Prediction, Problem, Snapshot
from tta_core.errors import InputError
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact, Objective, as_rows
from tta_core.solving.position import Position
from tta_core.values.arguments import above, at_least, within
from tta_core.values.schedules import Every, Geometric, GeometricDecay, Schedule
from tta_core.values.transition import as_batch
from tta_core.values.typing import Scores, evolve, frozen
from tta_plugins.methods.children import best_child
from tta_plugins.methods.diminishing import Diminishing
from tta_plugins.methods.kl_budget import KLBudget, refuse_weights, unless_budget
from tta_plugins.methods.null_penalties import Kernel, divergence, prior, released_factor

CITATION = """@inproceedings{kim2026nulltta,
  title = {Test-Time Alignment of Text-to-Image Diffusion Models via Null-Text Embedding Optimisation},
  author = {Kim, Taehoon and Gouk, Henry and Hospedales, Timothy},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2026},
  eprint = {2511.20889},
  archivePrefix = {arXiv}
}"""


@frozen
class NullTTA:
    """Maximises J(phi') = l1 R(x0^) - decay l2 KL - decay l2 ||phi' - phi||^2 / (2 sigma^2) at each step; keeps the best of K children.

    Attributes:
        particles: K, the number of candidates at the start and of children at each step; with 1 there is no selection.
        inner_min, inner_max: the number of inner steps at the first and at the last time steps.
        rate: how fast inner steps grow and penalties decay, per step; both depend on the step's index, so 50 steps reach half the range.
        updates: the steps with an inner loop, all in the paper; children are sampled and chosen at every step.
        reward_weight: l1; the default suits rewards of the size of a cosine; use 1 for a reward of size 100.
        penalty_weight, variance: l2 and sigma^2.
        kl_budget: the largest KL divergence of the run from plain sampling, in nats, instead of l1, l2 and the prior; see below.
        pooled_variance: sigma^2 of the pooled vector, which has its own prior; None: as `variance`.
        kernel: the transition of the KL: "training", that of one training step, as in the paper; "sampler", that of the sampler (in nats).
        guidance_factor: "exact" takes ||e~' - e~||^2; "released" multiplies it by s^2 / (s - 1)^2, as the authors' code does.
        estimator: `Exact()`, or `ZerothOrder()` and others for a reward without gradient.
        stop_gain: a sample's inner loop ends when an update gains less than this share of its gain so far; 0: never. Not with `kl_budget`.
        optimizer: the update rule; its state is reset at each time step. The variable is kept in float32 from step to step.
        variable: the null embedding; any other variable or a product works.

    With `kl_budget`, each step ascends R - m KL, with m of each sample from dual ascent, and phi' is moved back towards phi if its
    divergence exceeds its share of the nats left. The KL of the chain is then at most the budget, for any scale of the reward; the choice
    among particles is not counted (at most log K per choice). A last step without noise, where the KL of any change is infinite, is not
    changed.

    Cost: each step K rows of both branches, K decodes and rewards, and for each inner step a row of the null branch, a decode and a reward,
    forward and backward.

    Source: Null-TTA (arXiv 2511.20889), algorithm 1; the budget is this project's, a way to choose lambda_1, which the paper leaves open.
    Differs: the text branch is evaluated once per step instead of in each inner step, and the chosen child's evaluation is the next step's
    first; the numbers are the same. Noise is keyed by (seed, sample, step) instead of by the time alone. The released code's penalty is
    33 % above the exact one (s = 7.5); `NullTTA.released()` copies that. A last step without noise has no "sampler" KL: only the prior has
    an effect there. Not copied: the U-Net in half precision with decoder and reward in float32 (the policies "fp16" and "bf16" are
    similar), negative prompts that are not truncated, and the default negative prompt of the authors' script for SDXL: give your own.
    """

    particles: int = attrs.field(default=3, validator=at_least(1))
    inner_min: int = attrs.field(default=5, validator=at_least(0))
    inner_max: int = 25
    rate: float = attrs.field(default=0.008, validator=at_least(0))
    kl_budget: float | None = attrs.field(default=None, kw_only=True, validator=optional([above(0), within(0, 1e30)]))
    reward_weight: float | None = attrs.field(default=unless_budget(100.0), validator=optional(at_least(0)))
    penalty_weight: float | None = attrs.field(default=unless_budget(0.002), validator=optional(at_least(0)))
    variance: float = attrs.field(default=0.01, validator=above(0))
    pooled_variance: float | None = attrs.field(default=None, validator=optional(above(0)))
    kernel: Kernel = attrs.field(default=attrs.Factory(lambda self: "training" if self.kl_budget is None else "sampler", takes_self=True))
    guidance_factor: Literal["exact", "released"] = "exact"
    estimator: Estimator = attrs.field(factory=Exact)
    optimizer: steering.UpdateRule = attrs.field(factory=lambda: steering.Adam(lr=1e-2))
    variable: ControllableVariable = attrs.field(factory=NullEmbedding)
    updates: Schedule = attrs.field(factory=Every)
    stop_gain: float = attrs.field(default=0.0, validator=within(0, 1))

    citation: ClassVar[str] = CITATION

    @classmethod
    def released(cls, *, pooled: bool = False) -> "NullTTA":
        """The settings of the authors' code; run it with 100 steps.

        Their script for SDXL is `pooled=True`: the pooled null embedding is steered too, with its own prior of the same variance. Its
        guidance is 5.
        """
        return cls(guidance_factor="released", variable=NullEmbedding(pooled=pooled))

    @classmethod
    def fast(cls) -> "NullTTA":
        """Three inner steps of three times the length at every step, instead of 5 to 25. For the loss in reward, see the page on
        performance."""
        return cls(inner_min=3, inner_max=3, optimizer=steering.Adam(lr=3e-2))

    def __attrs_post_init__(self) -> None:
        if self.inner_max < self.inner_min:
            raise InputError(f"NullTTA.inner_max is {self.inner_max}, but inner_min is {self.inner_min}: give at least as many.")
        refuse_weights(self, self.kl_budget, reward_weight=self.reward_weight, penalty_weight=self.penalty_weight)
        if self.kl_budget is not None and self.stop_gain:
            raise InputError(
                f"NullTTA.stop_gain is {self.stop_gain}, but with kl_budget the objective's weight changes from update to update, so that "
                "gains cannot be compared. Leave one of them out."
            )
        if self.kl_budget is not None and (self.kernel, self.guidance_factor) != ("sampler", "exact"):
            raise InputError(
                f"NullTTA.kernel is {self.kernel!r} and guidance_factor {self.guidance_factor!r}, but kl_budget counts the nats of the "
                'sampler\'s own transitions. Leave both out, or give "sampler" and "exact".'
            )

    @property
    def needs(self) -> Needs:
        """DDIM with eta 1, so that children differ."""
        training, many, gradient = self.kernel == "training", self.particles > 1, self.estimator.needs_gradient
        return Needs(self.variable, gradient, training, eta=1.0, stochastic=not training, children=many, one_trajectory=not many)

    def inner(self, index: int, total: int) -> int:
        """n_t = round(n_min + (n_max - n_min) min(1, (1 + rate)^index - 1)) at the steps in `updates`, else 0."""
        if not self.updates(index, total):
            return 0
        return round(self.inner_min + (self.inner_max - self.inner_min) * Geometric(self.rate)(index, total))

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Choose a start; at each step maximise J, sample K children, and keep the best."""
        problem = problem.check(self.needs)
        if self.guidance_factor == "released":
            released_factor(problem)
        total, controls, used = len(problem.steps), problem.controls, problem.controls
        budget = KLBudget.of(self.kl_budget, problem)
        noises = problem.children(controls, 0, self.particles)
        here, controls = best_child(problem, problem.at(problem.started(noises), problem.steps[0]), controls.branched(0, noises))

        for step in problem.steps:
            if inner := budget.inner(here, self.inner(step.index, total)):
                with torch.no_grad():
                    reference = here.predict(problem.controls)
                value = steering.leaves(self.variable.read(controls))
                optimizer, diminishing = self.optimizer(value), Diminishing(self.stop_gain)
                for k in range(inner):
                    objective = partial(self.objective, problem, here, reference, multiplier=budget.multiplier)
                    evaluation, gradient = self.estimator(objective, value, problem, (step.index, k))
                    snapshot = evaluation.snapshot(step.index, total, self.variable.write(controls, steering.detached(value)), gradient)
                    yield evolve(snapshot, readings=budget.readings)
                    if diminishing.ended(evaluation.total.detach()):
                        break
                    before = steering.detached(value)
                    steering.ascend(optimizer, value, gradient)
                    diminishing.hold(value, before)
                    budget.follow(here, evaluation)
                controls = self.variable.write(controls, steering.detached(value))
            controls = budget.spend(here, self.variable, controls)

            used = used.recorded(step.index, controls.at(step.index))
            noises = problem.children(controls, step.index + 1, self.particles)
            with torch.no_grad():
                children = here.predict(controls).branch(noises)
            controls = controls.branched(step.index + 1, noises)
            if step.index + 1 < total:
                here, controls = best_child(problem, problem.at(children, problem.steps[step.index + 1]), controls)

        yield problem.result(total, evolve(controls, by_step=used.by_step), children.x, readings=budget.readings)

    def objective(
        self, problem: Problem, here: Position, reference: Prediction, value: steering.Tensors, multiplier: Scores | None = None
    ) -> Objective:
        """J at a value of the variable: l1 R - decay l2 (KL + sum ||phi' - phi||^2 / (2 sigma^2)), the sum over the steered tensors.

        With a `multiplier`, one for each sample, R - multiplier KL.
        """
        prediction = here.predict(self.variable.write(problem.controls, value))
        look = problem.look_ahead(prediction.x0)
        moved = divergence(prediction, reference, here.step, self.kernel)
        if multiplier is not None:
            return Objective(look, 1.0, {"divergence": as_batch(multiplier, len(moved)) * moved})
        factor = released_factor(problem) if self.guidance_factor == "released" else 1.0
        weight = (self.penalty_weight or 0.0) * GeometricDecay(self.rate)(here.step.index, len(problem.steps))
        change = steering.difference(value, as_rows(self.variable.read(problem.controls), value))
        penalties = {"divergence": weight * factor * moved, "prior": weight * prior(change, self.variance, self.pooled_variance)}
        return Objective(look, self.reward_weight or 0.0, penalties)
