"""FK steering: particles of the plain sampler, weighted by the rewards of their look-aheads and resampled at intervals.

Notation (name -> paper): particles -> k, strength -> lambda, potential -> G_t, memory -> the part of G_t that depends on earlier steps,
log_product -> the log of the product of a particle's potentials.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch
from attrs.validators import optional
from torch import Tensor

from tta_core.protocols.method import Needs, Snapshot
from tta_core.solving import resampling, steering
from tta_core.solving.problem import Problem
from tta_core.solving.resampling import Choice, Chosen, Population, Scheme
from tta_core.values.arguments import above, at_least
from tta_core.values.schedules import AtShares, Schedule
from tta_core.values.typing import frozen

CITATION = """@inproceedings{singhal2025fk,
  title = {A General Framework for Inference-time Scaling and Steering of Diffusion Models},
  author = {Singhal, Raghav and Horvitz, Zachary and Teehan, Ryan and Ren, Mengye and Yu, Zhou and McKeown, Kathleen
            and Ranganath, Rajesh},
  booktitle = {International Conference on Machine Learning},
  year = {2025},
  eprint = {2501.06848},
  archivePrefix = {arXiv}
}"""


@frozen
class FK:
    """Weights K particles by G = exp(lambda (r - r_before)), or another potential of the look-ahead's reward r, and resamples them.

    Attributes:
        particles: K for each prompt.
        strength: lambda; the larger lambda times the standard deviation of the reward, the fewer particles are kept.
        potential: of r and the memory m: "diff" exp(lambda (r - m)), "max" exp(lambda max(r, m)), "add" exp(lambda (r + m)), "rt"
            exp(lambda r). m becomes r, max(r, m) or r + m.
        updates: the steps that weight and resample; the finished images are always weighted.
        threshold: resample only if the effective size is below this share of K, else keep the weights; None: at every update.
        initial: the first value of m; None: minus infinity for "max", so that the first potential depends on r alone, else 0.
        resampling: "independent" is the authors' scheme; "ssp" and "systematic" have less variance.
        choose: the result is the particle of the best "reward", of the largest "weight", or a "draw" by weight.
        weights: "released" discards the weights if it does not resample, and ends with the last look-ahead instead of the image.

    Noise keys: transition noise of particle c at step i is row i + 1, child c; uniforms (i,) to resample there, (number of steps,) for
    "draw".

    Cost: each step K denoiser rows of each branch, without backward; each update K decodes and rewards, and K at the end. The authors
    use 100 steps and ImageReward.
    Source: FK steering (arXiv 2501.06848), algorithm 1.
    Differs: without resampling, weights are kept, as logarithms, and the last potential makes the product exp(lambda R(x0)), so that the
    weighted particles follow p(x0) exp(lambda R) and the evidence is unbiased. The authors' code (`weights="released"`) drops them. As
    there, step i weights by the look-ahead before the step and resamples after it.
    """

    particles: int = attrs.field(default=4, validator=at_least(1))
    strength: float = attrs.field(default=10.0, validator=at_least(0))
    potential: Literal["diff", "max", "add", "rt"] = "max"
    updates: Schedule = attrs.field(factory=lambda: AtShares((0.2, 0.4, 0.6, 0.8)))
    threshold: float | None = attrs.field(default=None, validator=optional(above(0)))
    initial: float | None = None
    resampling: Scheme = "independent"
    choose: Choice = "reward"
    weights: Literal["kept", "released"] = "kept"

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """DDIM with eta 1, so that particles differ; any reward works."""
        return Needs(eta=1.0, children=self.particles > 1, one_trajectory=self.particles == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample all particles plainly; at the updates weight and resample them; at the end weight the images."""
        problem = problem.check(self.needs)
        samples, total = len(problem.prompts), len(problem.steps)
        noises = problem.children(problem.controls, 0, self.particles)
        state, controls = problem.started(noises), problem.controls.branched(0, noises)
        population = resampling.population(self.particles, samples, state.x.device)
        log_product = torch.zeros_like(population.log_weights)
        memory = torch.full_like(log_product, self._initial)

        for step in problem.steps:
            last, look, ancestors = step.index + 1 == total, None, resampling.unmoved(population)
            noises = problem.children(problem.controls, step.index + 1, self.particles)
            with torch.no_grad():
                prediction = problem.at(state, step).predict(controls)
                if self.updates(step.index, total) or (last and self.weights == "released"):
                    look = problem.look(prediction.x0)
            best = steering.best(population.log_weights.flatten(), samples)
            before = controls[best]
            state, controls = prediction.sample(noises.flatten(0, 1)), controls.branched(step.index + 1, noises)
            readings: dict[str, Tensor] = {}
            if look is not None:
                potential, memory = self._potential(look.scores.double().view_as(log_product), memory)
                corrected = last and self.weights == "released" and self.potential != "diff"
                population = population.reweighted(potential - log_product if corrected else potential)
                readings = resampling.readings(population, look.scores)
                chosen = self._chosen(population, last)
                log_product = torch.where(chosen | (self.weights == "kept"), log_product + potential, log_product)
                population, ancestors = resampling.resampled(problem, population, self.resampling, chosen, step.index)
                if self.weights == "released":
                    population = population.resampled(torch.ones_like(chosen))
                rows = resampling.as_rows(ancestors)
                state, controls, log_product, memory = (
                    state[rows],
                    controls[rows],
                    log_product.gather(0, ancestors),
                    memory.gather(0, ancestors),
                )
            scores, parts = (None, {}) if look is None else (look.scores[best], look[best].parts)
            readings |= {"ancestors": ancestors, "log_product": log_product, "memory": memory}
            yield Snapshot(step.index, total, before, prediction.x0[best], scores, parts, readings=readings)

        look = problem.look(state.x)
        if self.weights == "kept":
            population = population.reweighted(self.strength * look.scores.double().view_as(log_product) - log_product)
        rows = resampling.chosen(problem, population, self.choose, look.scores, total)
        yield problem.result(total, controls, look, rows=rows, readings=resampling.readings(population, look.scores))

    @property
    def _initial(self) -> float:
        if self.initial is not None:
            return self.initial
        return -torch.inf if self.potential == "max" else 0.0

    def _potential(self, reward: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """log G, and the new memory."""
        new = {"max": torch.maximum(reward, memory), "add": reward + memory}.get(self.potential, reward)
        return self.strength * (new - memory if self.potential == "diff" else new), new

    def _chosen(self, population: Population, last: bool) -> Chosen:
        """The samples whose particles are resampled. The weights of the last step belong to the result, so there is no resampling then."""
        if last and self.weights == "kept":
            return torch.zeros_like(population.log_evidence, dtype=torch.bool)
        threshold = 0.5 if last else self.threshold
        if threshold is None:
            return torch.ones_like(population.log_evidence, dtype=torch.bool)
        return population.effective_size < threshold * self.particles
