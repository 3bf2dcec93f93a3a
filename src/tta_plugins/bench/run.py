"""Runs a comparison: samples missing cells until all exist, too many fail, or the hours are used up."""

import math
import time
from collections.abc import Collection
from pathlib import Path

import attrs

from tta_core.errors import InputError, TTAError
from tta_plugins.bench.engines import Engine
from tta_plugins.bench.parts import refuse_unknown
from tta_plugins.bench.plan import Plan, Unit, settle
from tta_plugins.bench.spec import Arm
from tta_plugins.bench.store import Store


@attrs.frozen
class RunState:
    """How a call of `sample` ended.

    Attributes:
        done, failed, planned: numbers of cells in the folder and in the plan.
        stopped: why the run ended early; empty if it did not.
    """

    done: int
    failed: int
    planned: int
    stopped: str = ""


def sample(
    plan: Plan,
    folder: Path,
    engine: Engine,
    *,
    only: Collection[str] = (),
    retry_failed: bool = False,
    budget_hours: float | None = None,
) -> RunState:
    """Sample the cells that the folder lacks. The same call again continues.

    Args:
        plan: the comparison.
        folder: where its cells are saved.
        engine: where they are sampled.
        only: names of arms; empty means all. The control "fixed" is always sampled.
        retry_failed: sample failed cells once more.
        budget_hours: start no unit after this many hours.

    Raises:
        TTAError: the folder holds something else, or an arm cannot be built.
    """
    arms = chosen_arms(plan, only)
    refuse_unknown(plan)
    if budget_hours is not None and not 0 <= budget_hours < math.inf:
        raise InputError(f"The budget of hours is {budget_hours}, but it takes a number from 0 on. Leave it out for no limit.")
    settle(plan, folder)
    chosen = {arm.name for arm in arms}
    store = Store(folder)
    units = [unit for unit in missing_units(plan, store, retry_failed) if unit.arm in chosen]
    watch = _Watch(plan, store, time.monotonic(), None if budget_hours is None else budget_hours * 3600)
    if units:
        engine.sample(folder, units, watch)
    return watch.state()


def chosen_arms(plan: Plan, only: Collection[str]) -> list[Arm]:
    """The arms of these names and the control "fixed"; all arms if there is no name. Raises `InputError` for an unknown name."""
    names = {plan.arm(name).name for name in only}
    return [arm for arm in plan.arms if not names or arm.name in names or arm.name == "fixed"]


def missing_units(plan: Plan, store: Store, retry_failed: bool = False) -> list[Unit]:
    """The units that have a cell to sample: one that is not done and, unless `retry_failed`, has not failed."""
    settled = {
        name: {cell for cell, record in cells.items() if record["status"] == "done" or not retry_failed}
        for name, cells in store.all_cells(plan).items()
    }
    return [unit for unit in plan.units() if not set(unit.cells) <= settled[unit.arm]]


@attrs.define
class _Watch:
    """Ends a run with too many failures or no time left. After each unit it counts the failures of the unit's arm again."""

    plan: Plan
    store: Store
    started: float
    limit: float | None
    stopped: str = ""
    _failed: dict[str, int] = attrs.field(factory=dict)

    def __call__(self, unit: Unit) -> bool:
        planned = sum(1 for arm in self.plan.arms for _ in self.plan.cells(arm))
        records = self.store.cells(self.plan.arm(unit.arm))
        self._failed[unit.arm] = sum(record["status"] == "failed" for record in records.values())
        failed = sum(self._failed.values())
        if failed > self.plan.spec.fail_on * planned:
            self.stopped = f"{failed} of {planned} planned cells failed, more than fail_on {self.plan.spec.fail_on:g} allows"
        if self.limit is not None and time.monotonic() - self.started > self.limit:
            self.stopped = f"the budget of {self.limit / 3600:g} hours is spent"
        return not self.stopped

    def state(self) -> RunState:
        """The state of the folder when the run ended."""
        statuses = [record["status"] for cells in self.store.all_cells(self.plan).values() for record in cells.values()]
        planned = sum(1 for arm in self.plan.arms for _ in self.plan.cells(arm))
        return RunState(statuses.count("done"), statuses.count("failed"), planned, self.stopped)


def refuse_failed(state: RunState) -> None:
    """Raises `TTAError` for a run that stopped because too much failed."""
    if "failed" in state.stopped:
        raise TTAError(f"{state.stopped}. `tta bench status` shows the errors. Fix their causes and run again with --retry failed.")


def known(folder: Path) -> Store:
    """The store of a folder that exists. Raises `InputError` otherwise."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Create it with `tta bench run bench.toml --out {folder}`.")
    return Store(folder)
