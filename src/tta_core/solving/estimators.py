"""Gradients of an objective: exact, or estimated where the reward has none; any method can use any of them.

An objective is `weight * reward - penalties`. Notation (name -> DNO paper): mu -> mu, directions -> the number of perturbations.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import attrs
import torch
from einops import rearrange
from torch import Tensor

from tta_core.protocols.method import Snapshot
from tta_core.solving import steering
from tta_core.solving.look import Look
from tta_core.solving.problem import Problem
from tta_core.solving.steering import Tensors
from tta_core.values.arguments import above
from tta_core.values.controls import Controls
from tta_core.values.transition import as_batch
from tta_core.values.typing import Images, Scores, evolve, frozen


@frozen
class Objective:
    """The value that a method increases, per sample, and the values it was computed from."""

    look: Look
    weight: float
    penalties: Mapping[str, Scores]

    @property
    def total(self) -> Scores:
        """weight * scores - the penalties."""
        return self.weight * self.look.scores - sum(self.penalties.values(), torch.zeros_like(self.look.scores))

    def first(self, rows: int) -> "Objective":
        """The first rows, without a graph."""
        return Objective(self.look[:rows], self.weight, {name: value[:rows].detach() for name, value in self.penalties.items()})

    def snapshot(self, index: int, total: int, controls: Controls, gradient: Tensors) -> Snapshot:
        """A snapshot of this evaluation; `gradient` is that of `total` by the variable."""
        look = self.look
        return Snapshot(index, total, controls, look.x0, look.scores, look.parts, self.penalties, self.total, gradient)


Evaluate = Callable[[Tensors], Objective]


@runtime_checkable
class Estimator(Protocol):
    """The objective at a value of the variable, and its gradient there, per sample."""

    @property
    def needs_gradient(self) -> bool:
        """Whether the reward must be differentiable."""
        ...

    def __call__(self, evaluate: Evaluate, value: Tensors, problem: Problem, key: tuple[int, ...]) -> tuple[Objective, Tensors]:
        """`evaluate` also takes rows `(k b)`. Random directions depend on `key`, not on the order of calls.

        Returns the objective at `value`, without a graph, and its gradient, with the shapes of `value`.
        """
        ...


@frozen
class Exact:
    """Backpropagation."""

    @property
    def needs_gradient(self) -> bool:
        """True: it backpropagates through the reward."""
        return True

    def __call__(self, evaluate: Evaluate, value: Tensors, problem: Problem, key: tuple[int, ...]) -> tuple[Objective, Tensors]:
        """One evaluation, forward and backward."""
        leaves = steering.leaves(value)
        objective = evaluate(leaves)
        return objective.first(value[0].shape[0]), problem.gradient(objective.total, leaves)


@frozen
class ZerothOrder:
    """g = 1 / (K mu) sum_k [J(v + mu u_k) - J(v)] u_k, u_k ~ N(0, I): perturbs the variable; K + 1 evaluations in one batch, no backward.

    Source: Null-TTA (arXiv 2511.20889), the gradient-free variant; Nesterov and Spokoiny (2017), Gaussian smoothing.
    """

    mu: float = attrs.field(default=0.02, validator=above(0))
    directions: int = attrs.field(default=4, validator=above(0))

    @property
    def needs_gradient(self) -> bool:
        """False: it only needs the reward's scores."""
        return False

    def __call__(self, evaluate: Evaluate, value: Tensors, problem: Problem, key: tuple[int, ...]) -> tuple[Objective, Tensors]:
        """One batch of evaluations without a graph."""
        samples = value[0].shape[0]
        directions = _directions(value, problem, key, self.directions)
        with torch.no_grad():
            objective = evaluate(_perturbed(value, directions, self.mu))
        totals = rearrange(objective.total, "(k b) -> k b", b=samples)
        gain = (totals[1:] - totals[0]) / (self.directions * self.mu)
        return objective.first(samples), _weighted(directions, gain)


@frozen
class Hybrid1:
    """Perturbs the image: dR/dx is estimated by Gaussian smoothing; sampler, decoder and penalties are differentiated exactly.

    Source: DNO (arXiv 2405.18881), hybrid gradient 1. The perturbed images are clamped to [0, 1], where rewards are defined.
    """

    mu: float = attrs.field(default=0.01, validator=above(0))
    directions: int = attrs.field(default=16, validator=above(0))

    @property
    def needs_gradient(self) -> bool:
        """False: it only needs the reward's scores."""
        return False

    def __call__(self, evaluate: Evaluate, value: Tensors, problem: Problem, key: tuple[int, ...]) -> tuple[Objective, Tensors]:
        """One evaluation with a graph, and one batch of rewards."""
        leaves = steering.leaves(value)
        objective = evaluate(leaves)
        image = (objective.look.images.detach(),)
        directions = _directions(image, problem, key, self.directions)
        scores = rearrange(problem.score(_perturbed(image, directions, self.mu)[0].clamp(0, 1)), "(k b) -> k b", b=value[0].shape[0])
        gain = (scores[1:] - scores[0]) / (self.directions * self.mu)
        return objective.first(value[0].shape[0]), problem.gradient(_surrogate(objective, _weighted(directions, gain)[0]), leaves)


@frozen
class Hybrid2:
    """Perturbs the variable and weights the differences of the *images*: g_x = sum_k (R_k - R)(x_k - x), scaled to unit length per sample.
    Then it ascends <g_x, x> through the exact Jacobian. All perturbed images are ones that the model can generate.

    Source: DNO (arXiv 2405.18881), hybrid gradient 2, the paper's best for rewards without gradients.
    """

    mu: float = attrs.field(default=0.01, validator=above(0))
    directions: int = attrs.field(default=4, validator=above(0))

    @property
    def needs_gradient(self) -> bool:
        """False: it only needs the reward's scores."""
        return False

    def __call__(self, evaluate: Evaluate, value: Tensors, problem: Problem, key: tuple[int, ...]) -> tuple[Objective, Tensors]:
        """One batch of evaluations without a graph, and one evaluation with a graph."""
        samples, leaves = value[0].shape[0], steering.leaves(value)
        directions = _directions(value, problem, key, self.directions)
        with torch.no_grad():
            perturbed = evaluate(_perturbed(value, directions, self.mu))
        scores = rearrange(perturbed.look.scores, "(k b) -> k b", b=samples)
        images = rearrange(perturbed.look.images, "(k b) c H W -> k b c H W", b=samples)
        (direction,) = steering.unit((torch.einsum("kb,kbchw->bchw", scores[1:] - scores[0], images[1:] - images[0]),))
        objective = evaluate(leaves)
        return objective.first(samples), problem.gradient(_surrogate(objective, direction), leaves)


def _surrogate(objective: Objective, direction: Images) -> Scores:
    """weight * <direction, image> - penalties. Its gradient equals that of the objective with `direction` in place of dR/dx."""
    return evolve(objective, look=evolve(objective.look, scores=(direction * objective.look.images).flatten(1).sum(1))).total


def _directions(value: Tensors, problem: Problem, key: tuple[int, ...], count: int) -> list[Tensors]:
    return [tuple(problem.noises.like(tensor, *key, k, i) for i, tensor in enumerate(value)) for k in range(count)]


def _perturbed(value: Tensors, directions: list[Tensors], mu: float) -> Tensors:
    """The value itself, then each perturbation; rows `(k b)`."""
    return tuple(torch.cat([tensor, *(tensor + mu * parts[i] for parts in directions)]).detach() for i, tensor in enumerate(value))


def _weighted(directions: list[Tensors], weights: Tensor) -> Tensors:
    """sum_k weights[k] * direction k, per sample."""
    terms = [steering.scaled(direction, weight) for direction, weight in zip(directions, weights, strict=True)]
    return tuple(torch.stack(parts).sum(0) for parts in zip(*terms, strict=True))


def as_rows(value: Tensors, like: Tensors) -> Tensors:
    """A value repeated to as many rows as another has, k-major."""
    return tuple(as_batch(tensor, other.shape[0]) for tensor, other in zip(value, like, strict=True))
