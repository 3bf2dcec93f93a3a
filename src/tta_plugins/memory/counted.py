"""Counts the FLOPs of a run in its ledger, and on the CPU its peak memory."""

import attrs

from tta_core.protocols.memory import Setup
from tta_core.values.typing import evolve, frozen
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.flops_per_row import flops_per_row


@frozen
class Counted:
    """Counts a run's FLOPs: rows times the FLOPs of one row, which are measured before the first step on tensors without data.

    Give it as the last policy, so that it includes what other policies recompute. Counting costs nothing during the run.

    Attributes:
        peak: also track every tensor, for the peak memory of a run on the CPU; this takes some 20 microseconds an operation. On a GPU the
            ledger always has the allocator's own peak.

    Exact: it changes nothing.
    """

    peak: bool = False
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """Add the FLOPs of a row to the setup, unless it has them already."""
        if not setup.prices:
            setup = evolve(setup, prices=flops_per_row(setup))
        if self.peak and setup.meter is None and setup.backbone.device.type == "cpu":
            setup = evolve(setup, meter=setup.undo.enter_context(CostTracker()))
        return setup
