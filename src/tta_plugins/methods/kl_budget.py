"""A budget of KL divergence instead of a weight: dual ascent adapts the weight of each sample, and no step exceeds its allowance."""

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

RATE = 0.5  # of the dual ascent: the change of log multiplier if the divergence is e times its allowance, or more
TURNS = 12  # most reductions of a change that exceeds its allowance


@attrs.define
class KLBudget:
    """The budget that each sample has left, and the multiplier m of its divergence: max R subject to KL <= allowance, as R - m KL.

    A step may use an equal share of the nats that are left; unused nats remain for later steps. The multiplier ascends the dual problem in
    its logarithm, so that it stays positive and adapts to the reward's scale. Without a budget nothing is limited.

    Attributes:
        left: nats, per sample.
        multiplier: units of the reward per nat, per sample; None without a budget.
    """

    problem: Problem
    left: Scores
    multiplier: Scores | None

    @classmethod
    def of(cls, nats: float | int | None, problem: Problem) -> "KLBudget":
        """The budget of a whole run, in nats; None: no budget."""
        left = torch.full((len(problem.prompts),), float(nats or 0), device=problem.controls.noise.device)
        return cls(problem, left, None if nats is None else torch.ones_like(left))

    @property
    def readings(self) -> dict[str, torch.Tensor]:
        """Readings for snapshots: "nats_left" and "multiplier", `(b,)`; empty without a budget."""
        return {} if self.multiplier is None else {"nats_left": self.left, "multiplier": self.multiplier}

    def inner(self, here: Position, count: int) -> int:
        """The number of inner steps: `count`, or none at a step without noise, where the divergence of every change is infinite."""
        return count if self.multiplier is None or self._is_noisy(here) else 0

    def follow(self, here: Position, evaluation: Objective) -> None:
        """One step of dual ascent, after the divergence at an inner step."""
        if self.multiplier is not None:
            excess = evaluation.penalties["divergence"] / self.multiplier / self._allowance(here).clamp_min(1e-30)
            self.multiplier = (self.multiplier * (RATE * excess.clamp_min(1e-30).log().clamp(-1, 1)).exp()).clamp(1e-12, 1e12)

    def spend(self, here: Position, variable: ControllableVariable, controls: Controls) -> Controls:
        """The controls, moved back towards the problem's until their divergence is within the allowance; it is subtracted from the budget.

        The divergence falls about as the square of the distance. If it is still too large after the last reduction, the problem's controls
        are used.
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
            smaller = share * (allowance / cost.clamp_min(1e-30)).sqrt().clamp_max(0.999)
            share = torch.where(above, smaller if turn + 1 < TURNS else torch.zeros_like(share), share)
            controls = variable.write(controls, steering.added(original, steering.scaled(change, share)))
            cost = self._cost(here, controls)
        self.left = self.left - cost
        return controls

    def _allowance(self, here: Position) -> Scores:
        """A step's share of the nats that are left, per sample. The last step adds no noise in most samplers, so it is not counted."""
        return self.left.clamp_min(0) / max(1, len(self.problem.steps) - 1 - here.step.index)

    def _cost(self, here: Position, controls: Controls) -> Scores:
        with torch.no_grad():
            return divergence(here.predict(controls), here.predict(self.problem.controls), here.step, "sampler")

    def _is_noisy(self, here: Position) -> bool:
        with torch.no_grad():
            return here.predict(self.problem.controls).transition.std > 0


def unless_budget(weight: float) -> Any:
    """A default weight, or None if the method has a `kl_budget`."""
    return attrs.Factory(lambda method: weight if method.kl_budget is None else None, takes_self=True)


def refuse_weights(method: object, budget: float | int | None, **weights: float | int | None) -> None:
    """Raises `InputError` if both a budget and a weight are given, or neither."""
    for name, weight in weights.items():
        if (weight is None) == (budget is None):
            cls = type(method).__name__
            raise InputError(
                f"{cls}.kl_budget is {budget} and {cls}.{name} is {weight}, but a budget replaces the weights, because it adapts them "
                "itself. Give either the budget or the weights."
            )
