"""The predicted cost of a run: evaluations, FLOPs, peak memory, and what dominates them."""

from collections.abc import Mapping

from tta_core.protocols.memory import Setup
from tta_core.values.typing import frozen
from tta_plugins.cost.evaluation_count import evaluation_count
from tta_plugins.cost.flops_per_row import counted_flops
from tta_plugins.cost.measured_calls import CallCost, measured_calls
from tta_plugins.cost.memory_profile import MemoryProfile, followed_memory


@frozen
class Forecast:
    """The predicted cost of one run; the rows do not include the baseline.

    Attributes:
        rows: rows through each component, by the ledger's names.
        prices: FLOPs of one row, by the same names.
        peaks: bytes of parameters and of each phase.
    """

    rows: Mapping[str, int]
    prices: Mapping[str, float]
    peaks: MemoryProfile

    @property
    def flops(self) -> Mapping[str, float]:
        """FLOPs of each component ("denoiser", "decoder", "reward"), forward and backward together."""
        totals = dict.fromkeys(COMPONENTS.values(), 0.0)
        for name, rows in self.rows.items():
            totals[COMPONENTS[name.removesuffix(".backward")]] += rows * self.prices.get(name, 0.0)
        return totals

    @property
    def total_flops(self) -> float:
        """FLOPs of the whole run."""
        return sum(self.flops.values())

    @property
    def evaluations(self) -> int:
        """Rows through the denoiser, forward and backward together."""
        return sum(rows for name, rows in self.rows.items() if COMPONENTS[name.removesuffix(".backward")] == "denoiser")

    @property
    def dominates(self) -> str:
        """A sentence about the component with the most FLOPs and the phase with the highest peak."""
        component, phase = max(self.flops, key=self.flops.__getitem__), max(self.peaks.phases, key=self.peaks.phases.__getitem__)
        share = self.flops[component] / self.total_flops if self.total_flops else 0.0
        return f"the {component} does {share:.0%} of the work; the {phase} phase needs the most memory"

    def record(self) -> dict[str, object]:
        """Plain data for JSON: numbers of rows, FLOPs and bytes."""
        return {
            "evaluations": self.evaluations,
            "rows": dict(self.rows),
            "flops_per_row": dict(self.prices),
            "flops": {**self.flops, "total": self.total_flops},
            "memory_bytes": {"parameters": self.peaks.parameters, **self.peaks.phases, "total": self.peaks.total},
            "dominates": self.dominates,
        }


COMPONENTS = {"text": "denoiser", "null": "denoiser", "decode": "decoder", "look-ahead": "decoder", "reward": "reward"}


def forecast(setup: Setup, rows: Mapping[str, int] | None = None, measured: dict[object, CallCost] | None = None) -> Forecast:
    """The forecast of a setup, whose policies are applied already.

    `rows` is its `evaluation_count`, if that is known. `measured` stores the costs of calls, for other setups (such as other methods) with
    the same networks and policies.
    """
    rows = evaluation_count(setup) if rows is None else rows
    with measured_calls(setup, measured) as calls:
        return Forecast(rows, counted_flops(calls), followed_memory(calls))
