"""A ledger with prices: FLOPs while a run runs, and on the CPU its peak memory."""

import attrs

from tta_core.protocols.memory import Setup
from tta_core.values.typing import evolve, frozen
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.flops_per_row import flops_per_row


@frozen
class Counted:
    """Count a run's FLOPs: rows times the FLOPs of one row, which are found before the first step on tensors without data.

    Give it last, so that it sees what other policies recompute. Counting itself costs nothing during the run.

    Attributes:
        peak: also follow every tensor, for the peak memory of a run on the CPU; some 20 microseconds an operation. On a GPU the
            allocator's own peak is always in the ledger.

    Exact: it changes nothing.
    """

    peak: bool = False
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup with prices, unless it has them already."""
        if not setup.prices:
            setup = evolve(setup, prices=flops_per_row(setup))
        if self.peak and setup.meter is None and setup.backbone.device.type == "cpu":
            setup = evolve(setup, meter=setup.undo.enter_context(CostTracker()))
        return setup
