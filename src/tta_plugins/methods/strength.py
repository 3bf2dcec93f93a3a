"""The strength of guidance at a step: a number, a schedule, or a rule that uses the sampler's table."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs

from tta_core import Step
from tta_core.values.arguments import above, at_least
from tta_core.values.schedules import Schedule, at_step
from tta_core.values.typing import frozen


@runtime_checkable
class TableRule(Protocol):
    """A strength that depends on a step and on the whole table."""

    def at(self, step: Step, steps: Sequence[Step]) -> float:
        """The strength at one of the table's steps."""
        ...


Strength = float | int | Schedule | TableRule


def strength_at(strength: Strength, step: Step, steps: Sequence[Step]) -> float:
    """The strength at a step of the table."""
    if isinstance(strength, TableRule):
        return strength.at(step, steps)
    return at_step(strength, step.index, len(steps))


@frozen
class Increasing:
    """strength * T w_t / sum_t w_t, w_t = abar_t / abar_t': larger at steps that remove less noise; the mean over the steps is `strength`.

    Source: TFG (arXiv 2409.15761) section 4.2, "increase", with abar = a^2 / (a^2 + s^2) for any table.
    """

    strength: float = attrs.field(validator=at_least(0))

    def at(self, step: Step, steps: Sequence[Step]) -> float:
        """The strength at one of the table's steps."""
        return _share(self.strength, _ratio(step), [_ratio(other) for other in steps])


@frozen
class Decreasing:
    """strength * T w_t / sum_t w_t, w_t = 1 - abar_t / abar_t': less towards the end; the mean over the steps is `strength`.

    Source: TFG (arXiv 2409.15761) section 4.2, "decrease".
    """

    strength: float = attrs.field(validator=at_least(0))

    def at(self, step: Step, steps: Sequence[Step]) -> float:
        """The strength at one of the table's steps."""
        return _share(self.strength, 1 - _ratio(step), [1 - _ratio(other) for other in steps])


@frozen
class OfSignal:
    """strength * sqrt(abar): smaller at steps where x contains little of x0. Source: FreeDoM (arXiv 2303.09833), the authors' code for
    faces."""

    strength: float = attrs.field(validator=at_least(0))

    def at(self, step: Step, steps: Sequence[Step]) -> float:
        """The strength at one of the table's steps."""
        return self.strength * step.a / (step.a**2 + step.s**2) ** 0.5


@frozen
class Damped:
    """lambda_t = lambda / (1 + 2 lambda v_t), v_t = 1 / (1 / variance + a^2 / s^2): smaller while the clean estimate is uncertain.

    For x0 ~ N(mu, variance I) and R = -||x0 - y||^2 in latents, log E[exp(lambda R(x0)) | x] = lambda_t R(E[x0 | x]) + const, so that
    Universal Guidance with this strength has the exact clean estimate of the tilted density p(x0) exp(lambda R(x0)).

    Attributes:
        strength: lambda, weight of the reward in the tilted density.
        variance: the variance of each clean latent around its mean, given the prompt.
    """

    strength: float = attrs.field(validator=at_least(0))
    variance: float = attrs.field(default=1.0, validator=above(0))

    def at(self, step: Step, steps: Sequence[Step]) -> float:
        """The strength at one of the table's steps."""
        posterior = 1 / (1 / self.variance + step.a**2 / step.s**2)
        return self.strength / (1 + 2 * self.strength * posterior)


def _share(strength: float, weight: float, weights: Sequence[float]) -> float:
    return strength * len(weights) * weight / sum(weights)


def _ratio(step: Step) -> float:
    """abar / abar' of a step."""
    here, after = (a**2 / (a**2 + s**2) for a, s in ((step.a, step.s), (step.a_next, step.s_next)))
    return here / after
