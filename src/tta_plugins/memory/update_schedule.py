"""Fewer updates: at a share of the steps, or in a part of the run."""

import attrs

from tta_core.protocols.memory import Setup
from tta_core.protocols.method import Method
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Fraction, Schedule, Window
from tta_core.values.typing import evolve, frozen
from tta_plugins.memory.components import refusal


@frozen
class UpdateFraction:
    """Update at a share of the steps, spread evenly from the first: it *replaces* the method's own choice of steps.

    Approximate: another run of the same method. Source: DATE (arXiv 2510.23974), the update fractions of its tables.
    """

    share: float = 0.1
    tolerance: float = attrs.field(default=float("inf"), init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose method updates at these steps."""
        return _rescheduled(setup, self, Fraction(self.share), keep=False)


@frozen
class UpdateWindow:
    """Update only from one share of the run to another: it *multiplies* the method's own choice of steps.

    Approximate: another run of the same method. Middle to late updates help DATE most.
    """

    start: float = 0.25
    stop: float = 1.0
    tolerance: float = attrs.field(default=float("inf"), init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose method updates only inside the window."""
        return _rescheduled(setup, self, Window(self.start, self.stop), keep=True)


def _rescheduled(setup: Setup, policy: object, schedule: Schedule, *, keep: bool) -> Setup:
    method, cls = setup.method, type(setup.method)
    if not attrs.has(cls) or "updates" not in {field.name for field in attrs.fields(cls)}:
        reason = f"it chooses the steps that update, and {name_of(method)} has no `updates` schedule"
        raise refusal(policy, setup, reason, "Leave the policy out, or use a method that has one, such as DATE.")
    own: Schedule = method.updates  # type: ignore[attr-defined]
    changed: Method = evolve(method, updates=own * schedule if keep else schedule)
    return evolve(setup, method=changed)
