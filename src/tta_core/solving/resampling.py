"""Resampling for sequential Monte Carlo: weights, evidence, effective sample size and ancestors, for each prompt separately.

Weights and uniforms are in double precision, `(k, b)`: k particles of each of b samples. A population is a column; columns never mix.
Ancestors come as rows `(k b)`, k-major, so that `state[ancestors]` and `prediction[ancestors]` are the resampled particles.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from tta_core.solving import steering
from tta_core.solving.problem import Problem
from tta_core.values.typing import Rows, frozen

Chosen = Bool[Tensor, " b"]
Weights = Float64[Tensor, "k b"]
Uniforms = Float64[Tensor, "n b"]
Ancestors = Int[Tensor, "k b"]
Scheme = Literal["ssp", "systematic", "stratified", "multinomial", "independent"]
Choice = Literal["weight", "reward", "draw"]


@frozen
class Population:
    """Normalised log-weights of each population, and the log of its evidence so far, in nats.

    A new population has equal weights and evidence 1. The evidence is an unbiased estimate of the normalising constant, for any number of
    particles and any proposal. Source: Del Moral, Doucet and Jasra (2006), section 3.
    """

    log_weights: Weights
    log_evidence: Float64[Tensor, " b"]

    @property
    def weights(self) -> Weights:
        """Weights that sum to 1 in each population."""
        return self.log_weights.exp()

    @property
    def effective_size(self) -> Float64[Tensor, " b"]:
        """1 / sum of squared weights: from 1 (one particle has all the weight) to k (all have the same)."""
        return torch.exp(-torch.logsumexp(2 * self.log_weights, 0))

    def reweighted(self, increments: Tensor) -> "Population":
        """The weights times exp(increments), `(k, b)` or rows `(k b)`; the evidence is multiplied by their mean."""
        increments = increments.double().view_as(self.log_weights)
        raw = self.log_weights + increments
        total = torch.logsumexp(raw, 0)
        return Population(raw - total, self.log_evidence + total)

    def resampled(self, chosen: Tensor) -> "Population":
        """Equal weights in the populations where `chosen` is True."""
        equal = torch.full_like(self.log_weights, -math.log(len(self.log_weights)))
        return Population(torch.where(chosen, equal, self.log_weights), self.log_evidence)


def population(particles: int, samples: int, device: torch.device | None = None) -> Population:
    """Equal weights, evidence 1."""
    zeros = torch.zeros(particles, samples, dtype=torch.float64, device=device)
    return Population(zeros - math.log(particles), zeros[0])


def uniforms_needed(scheme: Scheme, particles: int) -> int:
    """How many uniform random numbers a scheme uses for each population."""
    return {"ssp": particles - 1, "systematic": 1, "stratified": particles, "multinomial": particles + 1, "independent": particles}[scheme]


def ancestors(scheme: Scheme, weights: Weights, uniforms: Uniforms) -> Ancestors:
    """The ancestor of each new particle, `(k, b)`: the expected number of descendants is k times the weight.

    "systematic" and "ssp" give each particle the floor or the ceiling of that number. "multinomial" uses sorted points, made of k + 1
    uniforms; "independent" uses k uniforms in their given order.

    Source: Gerber, Chopin and Whiteley (2019), algorithm 2, for SSP; Douc, Cappe and Moulines (2005) for the others.
    """
    return _SCHEMES[scheme](weights, uniforms)


def as_rows(ancestors: Ancestors) -> Int[Tensor, " k*b"]:
    """Ancestors as rows `(k b)`."""
    samples = ancestors.shape[1]
    return rearrange(ancestors * samples + torch.arange(samples, device=ancestors.device), "k b -> (k b)")


def unmoved(population: Population) -> Ancestors:
    """Each particle is its own ancestor."""
    particles, samples = population.log_weights.shape
    return torch.arange(particles, device=population.log_weights.device)[:, None].expand(particles, samples)


def resampled(problem: Problem, population: Population, scheme: Scheme, where: Chosen, *key: int) -> tuple[Population, Ancestors]:
    """Resamples the populations where `where` is True, with the uniforms of a key; the others are not changed."""
    if not where.any():
        return population, unmoved(population)
    drawn = ancestors(scheme, population.weights, problem.uniform(uniforms_needed(scheme, len(population.log_weights)), *key))
    return population.resampled(where), torch.where(where, drawn, unmoved(population))


def drawn(weights: Weights, uniform: Float64[Tensor, "1 b"]) -> Rows:
    """One particle of each population, sampled by its weight; rows of `(k b)`."""
    return as_rows(_inverse(weights, uniform))


def chosen(problem: Problem, population: Population, choice: Choice, scores: Float[Tensor, " particles"], *key: int) -> Rows:
    """The particle that is a population's result: of the highest weight or reward, or sampled by weight with the uniform of a key."""
    if choice == "draw":
        return drawn(population.weights, problem.uniform(1, *key))
    return steering.best(scores if choice == "reward" else population.log_weights.flatten(), len(population.log_evidence))


def readings(population: Population, scores: Float[Tensor, " particles"]) -> dict[str, Tensor]:
    """A population's readings for snapshots: "weights" and "rewards" `(k, b)`, "effective_size" and "log_evidence" `(b,)`."""
    weights = population.weights
    sizes = {"effective_size": population.effective_size, "log_evidence": population.log_evidence}
    return {"weights": weights, "rewards": scores.view_as(weights)} | sizes


def _inverse(weights: Weights, points: Uniforms) -> Int[Tensor, "n b"]:
    """For each point the first particle whose cumulative weight reaches it; the last one by rounding."""
    reached = torch.searchsorted(weights.cumsum(0).T.contiguous(), points.T.contiguous(), right=False).T
    return reached.clamp_max(len(weights) - 1)


def _systematic(weights: Weights, uniforms: Uniforms) -> Ancestors:
    places = torch.arange(len(weights), device=weights.device)[:, None]
    return _inverse(weights, (uniforms + places) / len(weights))


def _multinomial(weights: Weights, uniforms: Uniforms) -> Ancestors:
    reached = (-uniforms.log()).cumsum(0)
    return _inverse(weights, reached[:-1] / reached[-1])


def _ssp(weights: Weights, uniforms: Uniforms) -> Ancestors:
    columns = [_ssp_counts(column.tolist(), given.tolist()) for column, given in zip(weights.T.cpu(), uniforms.T.cpu(), strict=True)]
    particles = torch.arange(len(weights))
    each = [torch.searchsorted(torch.tensor(counts).cumsum(0), particles, right=True).clamp_max(len(weights) - 1) for counts in columns]
    return torch.stack(each, 1).to(weights.device)


def _ssp_counts(weights: list[float], uniforms: list[float]) -> list[int]:
    """Numbers of descendants: the algorithm rounds fractions in pairs, until each count is a whole number."""
    k = len(weights)
    counts = [math.floor(k * weight) for weight in weights]
    fractions = [k * weight - count for weight, count in zip(weights, counts, strict=True)]
    i, j = 0, 1
    for step in range(k - 1):
        up, down = min(fractions[j], 1 - fractions[i]), min(fractions[i], 1 - fractions[j])
        share = up / (up + down) if up + down > 0 else 0.0
        if uniforms[step] < share:
            i, j, up = j, i, down
        if fractions[j] < 1 - fractions[i]:
            fractions[i] += up
            j = step + 2
        else:
            fractions[j] -= up
            counts[i] += 1
            i = step + 2
    if sum(counts) == k - 1:
        undecided = j if i == k else i
        if fractions[undecided] > 0.99:
            counts[undecided] += 1
    return counts


_SCHEMES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ssp": _ssp,
    "systematic": _systematic,
    "stratified": _systematic,
    "multinomial": _multinomial,
    "independent": _inverse,
}
