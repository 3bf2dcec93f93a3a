"""A budget of KL divergence instead of a weight: dual ascent finds the weight of each sample, and no step spends more than is left."""

from typing import Any

import attrs
import torch

from tta_core import ControllableVariable, Controls, Problem
from tta_core.errors import InputError
from tta_core.solving import steering
from tta_core.solving.estimators import Objective
from tta_core.solving.position import Position
from tta_core.values.typing import Scores
from tta_plugins.methods.null_penalties import divergence

RATE = 0.5  # of the dual ascent: how far log multiplier moves where the divergence is e times its allowance, or more
TURNS = 12  # of drawing back


@attrs.define
class KLBudget:
    """What each sample has left, in nats, and the multiplier m of its divergence: max R subject to KL <= allowance, as R - m KL.

    A step may spend an equal share of what is left; what it does not spend is there for the steps to come. The multiplier ascends the dual
    problem in its logarithm, so that it stays positive and finds the reward's scale by itself. Without a budget nothing is spent.

    Attributes:
        left: nats, per sample.
        multiplier: nats to units of the reward, per sample; None without a budget.
    """

    problem: Problem
    left: Scores
    multiplier: Scores | None

    @classmethod
    def of(cls, nats: float | int | None, problem: Problem) -> "KLBudget":
        """A whole run's; None: no budget."""
        left = torch.full((len(problem.prompts),), float(nats or 0), device=problem.controls.noise.device)
        return cls(problem, left, None if nats is None else torch.ones_like(left))

    @property
    def readings(self) -> dict[str, torch.Tensor]:
        """For snapshots: "nats_left" and "multiplier", `(b,)`; nothing without a budget."""
        return {} if self.multiplier is None else {"nats_left": self.left, "multiplier": self.multiplier}

    def inner(self, here: Position, wanted: int) -> int:
        """How many inner steps a step has: none at a last step without noise, where every change costs infinitely much."""
        return wanted if self.multiplier is None or self._is_noisy(here) else 0

    def follow(self, here: Position, seen: Objective) -> None:
        """One step of dual ascent, after the divergence at an inner step."""
        if self.multiplier is not None:
            excess = seen.penalties["divergence"] / self.multiplier / self._allowance(here).clamp_min(1e-30)
            self.multiplier = (self.multiplier * (RATE * excess.clamp_min(1e-30).log().clamp(-1, 1)).exp()).clamp(1e-12, 1e12)

    def spend(self, here: Position, variable: ControllableVariable, controls: Controls) -> Controls:
        """The controls, drawn back towards the problem's own as far as the allowance asks; what they cost is spent.

        The divergence falls about as the square of the distance; where it does not fall in time, the problem's own are left.
        """
        if self.multiplier is None:
            return controls
        original, share, allowance = variable.read(self.problem.controls), torch.ones_like(self.left), self._allowance(here)
        if not self._is_noisy(here):
            return variable.write(controls, original)
        change, cost = steering.difference(variable.read(controls), original), self._cost(here, controls)
        for turn in range(TURNS):
            above = cost > allowance * (1 + 1e-4)
            if not above.any():
                break
            nearer = share * (allowance / cost.clamp_min(1e-30)).sqrt().clamp_max(0.999)
            share = torch.where(above, nearer if turn + 1 < TURNS else torch.zeros_like(share), share)
            controls = variable.write(controls, steering.added(original, steering.scaled(change, share)))
            cost = self._cost(here, controls)
        self.left = self.left - cost
        return controls

    def _allowance(self, here: Position) -> Scores:
        """A step's share of what is left, per sample. The last step draws no noise in most samplers, and has no share of its own."""
        return self.left.clamp_min(0) / max(1, len(self.problem.steps) - 1 - here.step.index)

    def _cost(self, here: Position, controls: Controls) -> Scores:
        with torch.no_grad():
            return divergence(here.predict(controls), here.predict(self.problem.controls), here.step, "sampler")

    def _is_noisy(self, here: Position) -> bool:
        with torch.no_grad():
            return here.predict(self.problem.controls).transition.std > 0


def unless_budget(weight: float) -> Any:
    """A default that a field `kl_budget` takes the place of."""
    return attrs.Factory(lambda method: weight if method.kl_budget is None else None, takes_self=True)


def refuse_weights(method: object, budget: float | int | None, **weights: float | int | None) -> None:
    """Raises `InputError` for weights beside a budget, or for neither."""
    for name, weight in weights.items():
        if (weight is None) == (budget is None):
            who = type(method).__name__
            raise InputError(
                f"{who}.kl_budget is {budget} and {who}.{name} is {weight}, but a budget takes the place of the weights, which it finds by "
                "itself: give the budget, or the weights."
            )
