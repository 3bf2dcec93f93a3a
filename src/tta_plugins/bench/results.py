"""The table of all images: `results.csv`, one row per cell. Interruptions and the choice of engine do not change its bytes.

Seconds are not in it, since they differ from run to run. `summary.json` has them.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import attrs

from tta_core.errors import LoadError
from tta_plugins.bench.files import save
from tta_plugins.bench.panel import COLUMNS, PANEL
from tta_plugins.bench.plan import Cell, Plan
from tta_plugins.bench.scoring import Scores
from tta_plugins.bench.spec import LEADING
from tta_plugins.bench.store import Store


@attrs.frozen
class Row:
    """One cell with its numbers by column; a failed cell has none."""

    arm: str
    cell: Cell
    status: str
    numbers: Mapping[str, float]


@attrs.frozen
class Results:
    """All cells that are done or failed."""

    rows: Sequence[Row]

    def values(self, arm: str, column: str) -> dict[tuple[int, int], float]:
        """One column of one arm by prompt and seed, for the cells that have it."""
        return {(row.cell.prompt, row.cell.seed): row.numbers[column] for row in self.of(arm) if column in row.numbers}

    def of(self, arm: str) -> list[Row]:
        """The rows of one arm."""
        return self._by_arm.get(arm, [])

    @cached_property
    def _by_arm(self) -> dict[str, list[Row]]:
        by_arm: dict[str, list[Row]] = {}
        for row in self.rows:
            by_arm.setdefault(row.arm, []).append(row)
        return by_arm


def columns(rewards: Sequence[str]) -> list[str]:
    """The names of the numbers in a row."""
    return ["evaluations", "flops", *(name for reward in rewards for name in (reward, f"{reward} jpeg")), *COLUMNS.values()]


def collect(plan: Plan, folder: Path, rewards: Sequence[str]) -> Results:
    """The table of a folder, in the plan's order."""
    store, scores = Store(folder).all_cells(plan), Scores(folder)
    known = {reward: scores.read(reward) for reward in rewards}
    panels = scores.read(PANEL)
    rows = []
    for arm in plan.arms:
        for cell in plan.cells(arm):
            record = store[arm.name].get(cell)
            if record is None:
                continue
            numbers: dict[str, float] = {}
            if record["status"] == "done":
                numbers = {name: record[name] for name in ("evaluations", "flops") if record[name] is not None}
                for reward in rewards:
                    values = known[reward].get((arm.name, cell), {})
                    numbers |= {reward if kind == "png" else f"{reward} {kind}": value for kind, value in values.items()}
                numbers |= {COLUMNS[name]: value for name, value in panels.get((arm.name, cell), {}).items()}
            rows.append(Row(arm.name, cell, record["status"], numbers))
    return Results(rows)


def write_results(results: Results, rewards: Sequence[str], path: Path) -> None:
    """Write the table."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = columns(rewards)
    writer.writerow([*LEADING, *names])
    for row in results.rows:
        numbers = [f"{row.numbers[name]:.6g}" if name in row.numbers else "" for name in names]
        writer.writerow([row.arm, row.cell.prompt, row.cell.seed, row.status, *numbers])
    save(path, buffer.getvalue().encode())


def read_results(path: Path) -> Results:
    """The table in a file. Raises `LoadError` if the file holds no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ())[: len(LEADING)] != LEADING:
                raise ValueError(f"its first line does not begin with {','.join(LEADING)}")
            return Results([_row(row) for row in rows])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise LoadError(
            f"{path} could not be read as results: {type(error).__name__}: {error}. `tta bench score` writes it again."
        ) from error


def _row(row: Mapping[str, str]) -> Row:
    numbers = {name: float(value) for name, value in row.items() if name not in LEADING and value}
    return Row(row["arm"], Cell(int(row["prompt"]), int(row["seed"])), row["status"], numbers)
