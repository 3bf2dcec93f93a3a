"""The progress of a comparison, read from its folder alone, also while it runs."""

import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from tta_plugins.bench.plan import Plan
from tta_plugins.bench.store import Store


@attrs.frozen
class ArmStatus:
    """The cells of one arm.

    Attributes:
        seconds: measured time per image; None before the first.
        errors: how often each error occurred.
    """

    name: str
    done: int
    failed: int
    planned: int
    seconds: float | None
    errors: Mapping[str, int]

    @property
    def left(self) -> int:
        """Cells still to sample."""
        return self.planned - self.done - self.failed


@attrs.frozen
class Status:
    """All arms. `idle`: seconds since a cell was last saved; None before the first."""

    arms: tuple[ArmStatus, ...]
    idle: float | None

    @property
    def seconds_left(self) -> float | None:
        """Seconds of one worker for the cells left, at the measured rates; None while an arm with cells left has no rate."""
        if any(arm.left and arm.seconds is None for arm in self.arms):
            return None
        return sum(arm.left * (arm.seconds or 0.0) for arm in self.arms)


def status_of(plan: Plan, folder: Path) -> Status:
    """The status of a folder."""
    store, arms, newest = Store(folder), [], 0.0
    for arm in plan.arms:
        records = store.cells(arm).values()
        failed = [record for record in records if record["status"] == "failed"]
        times = [record["seconds"] for record in records if record["status"] == "done"]
        errors: dict[str, int] = {}
        for record in failed:
            errors[record["error"]] = errors.get(record["error"], 0) + 1
        planned = sum(1 for _ in plan.cells(arm))
        arms.append(ArmStatus(arm.name, len(times), len(failed), planned, sum(times) / len(times) if times else None, errors))
        newest = max([newest, *(path.stat().st_mtime for path in store.arm(arm).glob("cells.*.jsonl"))])
    return Status(tuple(arms), time.time() - newest if newest else None)


def measured_seconds(plan: Plan, folder: Path) -> dict[str, float]:
    """Seconds per image, by arm. The time of a batch is divided equally among its images."""
    return {arm.name: arm.seconds for arm in status_of(plan, folder).arms if arm.seconds is not None}
