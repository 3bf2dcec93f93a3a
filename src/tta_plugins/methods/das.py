"""DAS: sequential Monte Carlo for the target p(x0) exp(R / alpha), with a proposal that follows the reward's gradient.

Notation (name -> paper): particles -> K, alpha -> alpha, tempering -> lambda_i, twist -> log psi_i(x) = lambda_i R(x0^(x)) / alpha,
slope -> grad_x R(x0^(x)) / alpha, population -> the weights w and the evidence Z.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch
from attrs.validators import optional
from torch import Tensor

from tta_core.protocols.method import Needs, Snapshot
from tta_core.solving import resampling, steering
from tta_core.solving.look import Look
from tta_core.solving.problem import Problem
from tta_core.solving.resampling import Choice, Population, Scheme, Weights
from tta_core.values.arguments import above, at_least
from tta_core.values.controls import Controls
from tta_core.values.schedules import Geometric, Schedule
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.typing import Latents, evolve, frozen

CITATION = """@inproceedings{kim2025das,
  title = {Test-time Alignment of Diffusion Models without Reward Over-optimization},
  author = {Kim, Sunwoo and Kim, Minkyu and Park, Dongmin},
  booktitle = {International Conference on Learning Representations},
  year = {2025},
  eprint = {2501.05803},
  archivePrefix = {arXiv}
}"""


@frozen
class DAS:
    """Samples K particles from N(mean + std^2 lambda' grad R / alpha, std^2 I), weights them exactly, and resamples them.

    Attributes:
        particles: K for each prompt.
        alpha: temperature of the target, in units of the reward: 0.005 for aesthetic scores, 0.01 for CLIP, 0.0001 for PickScore's logits.
        proposal: "gradient", or "prior": the sampler's own transition, which needs no gradient.
        tempering: lambda at step i, counted from `start`: `Geometric(0.008)` ("exp"), `Power(0.01, 2)` (polynomial), `Constant(1)` (none).
        gradient_tempering: lambda' of the proposal; None uses lambda of the next step.
        adaptive: raise lambda above `tempering` as long as the effective size stays at this share of K, by bisection; None: do not.
        start: the first steered step; steps before it sample plainly, without reward, gradient or resampling.
        threshold: resample if the effective size is below this share of K; with a value above 1, at every step.
        resampling: "ssp", "systematic", "stratified", "multinomial", or "independent" (unsorted multinomial).
        choose: the result is the particle of the largest "weight", of the best "reward", or a "draw" by weight.
        lineage: "exact": resampled particles keep their own twist and gradient; "released": these are not resampled, as in the authors'
            code.

    Noise keys: transition noise of particle c at step i is row i + 1, child c; uniforms (i,) to resample there, (number of steps,) for
    "draw".

    Cost: each step K denoiser rows of each branch, K decodes and K rewards, forward and backward (forward alone with "prior"); at the end K
    decodes and rewards. The paper takes 100 steps, guidance 5, K 4.
    Source: DAS (arXiv 2501.05803), algorithm 1.
    Differs: a particle keeps its own twist and gradient, so the evidence is unbiased; in the authors' code, which made their tables, it
    does not (`DAS.released()`). Their "adaptive" changes lambda by an optimiser that hardly changes it. lambda_{i+1} of a polynomial
    keeps its exponent in the proposal. The weights of transitions are also exact at a step without noise.
    """

    particles: int = attrs.field(default=4, validator=at_least(1))
    alpha: float = attrs.field(default=0.01, validator=above(0))
    proposal: Literal["gradient", "prior"] = "gradient"
    tempering: Schedule = attrs.field(factory=lambda: Geometric(0.008))
    gradient_tempering: Schedule | None = None
    adaptive: float | None = attrs.field(default=None, validator=optional(above(0)))
    start: int = attrs.field(default=0, validator=at_least(0))
    threshold: float = attrs.field(default=0.5, validator=at_least(0))
    resampling: Scheme = "ssp"
    choose: Choice = "weight"
    lineage: Literal["exact", "released"] = "exact"

    citation: ClassVar[str] = CITATION

    @classmethod
    def released(cls) -> "DAS":
        """The settings of the authors' code, including the error with which their tables were made; run it with 100 steps and guidance
        5."""
        return cls(lineage="released")

    @property
    def needs(self) -> Needs:
        """DDIM with eta 1, so that particles differ."""
        gradient, many = self.proposal == "gradient", self.particles > 1
        return Needs(gradient=gradient, eta=1.0, children=many, moves_x=gradient, one_trajectory=not many)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """At each step, weight and resample the particles and sample the next ones; at the end, weight the finished images."""
        problem = problem.check(self.needs)
        samples, total = len(problem.prompts), len(problem.steps)
        noises = problem.children(problem.controls, 0, self.particles)
        state, controls = problem.started(noises), problem.controls.branched(0, noises)
        population = resampling.population(self.particles, samples, state.x.device)
        twist = ratio = torch.zeros_like(population.log_weights)
        strength = twist[0]

        for step in problem.steps:
            prediction, look, slope = self._evaluated(problem, state, step, controls)
            rows = steering.best(population.log_weights.flatten(), samples)
            readings: dict[str, Tensor] = {}
            ancestors = resampling.unmoved(population)
            if look is not None:
                value = look.scores.double().view_as(twist) / self.alpha
                strength = self._strength(population, ratio - twist, value, strength, step.index - self.start, total)
                population = population.reweighted(ratio + strength * value - twist)
                twist, rows = strength * value, steering.best(population.log_weights.flatten(), samples)
                following = self._following(strength, step.index - self.start, total)
                slope = steering.scaled((slope,), following.to(slope).repeat(self.particles))[0]
                readings = resampling.readings(population, look.scores) | {"tempering": strength}
                chosen = population.effective_size < self.threshold * self.particles
                population, ancestors = resampling.resampled(problem, population, self.resampling, chosen, step.index)
            scores, parts = (None, {}) if look is None else (look.scores[rows], look[rows].parts)
            readings |= {"ancestors": ancestors}
            yield Snapshot(step.index, total, controls[rows], prediction.x0[rows], scores, parts, readings=readings)

            particles = resampling.as_rows(ancestors)
            prediction, controls = prediction[particles], controls[particles]
            if self.lineage == "exact":
                slope, twist = slope[particles], twist.gather(0, ancestors)
            noises, transition = problem.children(problem.controls, step.index + 1, self.particles), prediction.transition
            proposal = transition.shifted(transition.std**2 * slope)
            state = evolve(prediction, transition=proposal).sample(noises.flatten(0, 1))
            ratio = transition.log_ratio(noises.flatten(0, 1), slope).double().view_as(twist)
            controls = controls.branched(step.index + 1, noises)

        look = problem.look(state.x)
        population = population.reweighted(ratio + look.scores.double().view_as(twist) / self.alpha - twist)
        rows = resampling.chosen(problem, population, self.choose, look.scores, total)
        yield problem.result(total, controls, look, rows=rows, readings=resampling.readings(population, look.scores))

    def _evaluated(self, problem: Problem, state: State, step: Step, controls: Controls) -> tuple[Prediction, Look | None, Latents]:
        """One evaluation of all particles: the prediction, its look, and grad_x R / alpha; before `start` only the prediction."""
        scored = step.index >= self.start
        x = state.x.detach().requires_grad_(scored and self.proposal == "gradient")
        with torch.set_grad_enabled(x.requires_grad):
            prediction = problem.at(evolve(state, x=x), step).predict(controls)
            look = problem.look_ahead(prediction.x0) if scored else None
        if look is None or not x.requires_grad:
            return prediction, look, torch.zeros_like(x)
        (slope,) = problem.gradient(look.scores / self.alpha, (x,))
        return prediction.detached(), look[:], slope.detach()

    def _strength(self, population: Population, before: Weights, value: Weights, last: Tensor, index: int, total: int) -> Tensor:
        """lambda of each sample at a step counted from `start`."""
        least = torch.full_like(last, self.tempering(index, total))
        if self.adaptive is None or index == 0:
            return least
        low, high, size = torch.maximum(least, last), torch.ones_like(last), self.adaptive * self.particles

        def large_enough(strength: Tensor) -> Tensor:
            return population.reweighted(before + strength * value).effective_size >= size

        low = torch.where(large_enough(high), high, low)
        for _ in range(40):
            middle = (low + high) / 2
            low, high = torch.where(large_enough(middle), middle, low), torch.where(large_enough(middle), high, middle)
        return low

    def _following(self, strength: Tensor, index: int, total: int) -> Tensor:
        """lambda' of the proposal at a step counted from `start`: that of the next step; with `adaptive`, of this step."""
        if self.gradient_tempering is not None:
            return torch.full_like(strength, self.gradient_tempering(index, total))
        adapted = self.adaptive is not None and index > 0
        return strength if adapted else torch.full_like(strength, self.tempering(index + 1, total))
