"""Samples one unit of cells as a batch and saves each cell. A batch that fails is halved until the failing cell is alone."""

import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError, LoadError, SaveError, UnknownNameError
from tta_core.protocols.method import Snapshot
from tta_core.running.out_of_memory import ran_out
from tta_core.running.prepare import Prepared, prepare
from tta_core.solving.problem import Problem
from tta_core.values.arguments import error_text
from tta_core.values.images import to_pil
from tta_core.values.ledger import Ledger
from tta_core.values.provenance import describe
from tta_core.values.typing import evolve
from tta_plugins.bench.identity import identity_of, weights_of
from tta_plugins.bench.noise_panel import noise_panel
from tta_plugins.bench.parts import Parts, arguments, memory_of
from tta_plugins.bench.plan import Cell, Plan, Unit
from tta_plugins.bench.spec import Arm
from tta_plugins.bench.store import Store
from tta_plugins.cost.flops_per_row import flops_per_row
from tta_plugins.pages.film_strip import FilmStrip


@attrs.define
class CellSampler:
    """Samples cells of one plan into one store, within one process."""

    plan: Plan
    store: Store
    parts: Parts = attrs.field(init=False)
    _weights: dict[str, dict[str, str]] = attrs.field(factory=dict)
    _prices: dict[str, dict[str, float]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.parts = Parts(self.plan)
        torch.set_num_threads(self.plan.spec.threads)

    def unit(self, unit: Unit) -> None:
        """Sample a unit. Cells that exist already are sampled with the others, and not saved again.

        Raises:
            TTAError: the arm cannot be built, or has changed since its earlier cells were sampled.
        """
        arm = self.plan.arm(unit.arm)
        records = self.store.cells(arm)
        missing = {cell for cell in unit.cells if cell not in records or records[cell]["status"] != "done"}
        if missing:
            self._attempt(arm, unit.cells, missing, retries=0)

    def _attempt(self, arm: Arm, cells: Sequence[Cell], missing: set[Cell], retries: int) -> None:
        if not missing & set(cells):
            return
        try:
            self._sample(arm, cells, missing, retries)
        except (InputError, LoadError, UnknownNameError, SaveError):
            raise
        except Exception as error:
            if ran_out(error) and torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(cells) == 1:
                self._failed(arm, cells[0], error, retries)
                return
            half = len(cells) // 2
            for part in (cells[:half], cells[half:]):
                self._attempt(arm, part, missing, retries + ran_out(error))

    def _failed(self, arm: Arm, cell: Cell, error: Exception, retries: int) -> None:
        lines = "".join(traceback.format_exception(error))
        record = {"status": "failed", "error": f"{type(error).__name__}: {error}", "traceback": lines, "retries": retries}
        self.store.keep(arm, cell, record, None)

    def _sample(self, arm: Arm, cells: Sequence[Cell], missing: set[Cell], retries: int) -> None:
        prompts = [self.plan.prompts[cell.prompt] for cell in cells]
        given: dict[str, Any] = {**arguments(self.plan, arm, self.parts), "memory": memory_of(self.plan, arm)}
        seeds = [self.plan.noise_seed(cell) for cell in cells]
        with prepare(prompts, seed=seeds, **given) as prepared:
            ledger = Ledger(meter=prepared.problem.ledger.meter)
            problem = evolve(prepared.problem, ledger=ledger)
            started = time.perf_counter()
            snapshots = Watched(strips=arm.name != "pool" and any(cell.prompt < self.plan.spec.strips for cell in cells))
            with torch.enable_grad(), ledger.phase("method"):
                for snapshot in prepared.method.align(problem):
                    snapshots.see(snapshot)
            last = snapshots.last
            images = last.images
            if images is None:
                with torch.no_grad():
                    images = problem.look(last.x0.detach()).images
            seconds = time.perf_counter() - started
            key, ledger.prices = self._identified(arm, prepared)
            noises = noise_panel(problem.controls.noise, last.controls.noise)
            strips = snapshots.decoded(problem)
        for row, cell in enumerate(cells):
            if cell not in missing:
                continue
            record = {
                "status": "done",
                "key": key,
                "seconds": seconds / len(cells),
                "evaluations": ledger.evaluations / len(cells),
                "flops": None if ledger.flops is None else ledger.flops / len(cells),
                "rows": {name: count / len(cells) for name, count in sorted(ledger.counts.items())},
                "peak_bytes": ledger.peak_bytes,
                "batch": len(cells),
                "retries": retries,
                "trace": snapshots.trace(row),
                "noise": {name: values[row] for name, values in noises.items()},
            }
            kept = strips and cell.prompt < self.plan.spec.strips
            strip = to_pil(torch.cat([look[row] for look in strips], dim=2)) if kept else None
            self.store.keep(arm, cell, record, to_pil(images[row]), strip)

    def _identified(self, arm: Arm, prepared: Prepared) -> tuple[str, Mapping[str, float]]:
        name = f"{arm.backbone or self.plan.spec.backbone} {self.plan.target(arm)}"
        if name not in self._weights:
            self._weights[name] = weights_of(prepared)
        prices = self.store.prices(arm)
        if prices is None:
            priced_as = repr((name, prepared.method.needs.variable, memory_of(self.plan, arm), prepared.problem.guidance == 1))
            if priced_as not in self._prices:
                self._prices[priced_as] = _prices(prepared)
            prices = self._prices[priced_as]
        return self.store.identify(arm, {**identity_of(prepared, self._weights[name]), "prices": prices}), prices


@attrs.define
class Watched:
    """Records a run: the numbers of every snapshot, and clean estimates for a film strip if `strips` is set."""

    strips: bool
    rows: list[tuple[Tensor | None, dict[str, Tensor]]] = attrs.field(factory=list)
    film: FilmStrip = attrs.field(factory=FilmStrip)
    _last: Snapshot | None = None

    def see(self, snapshot: Snapshot) -> None:
        """Record a snapshot."""
        self._last = snapshot
        scores = None if snapshot.scores is None else snapshot.scores.detach()
        self.rows.append((scores, {name: value.detach() for name, value in snapshot.penalties.items()}))
        if self.strips:
            self.film.see(snapshot)

    @property
    def last(self) -> Snapshot:
        """The last snapshot, which is the result."""
        if self._last is None:
            raise InputError("The method yielded no snapshot, so there is no result. Let it yield at least `problem.result(...)`.")
        return self._last

    def decoded(self, problem: Problem) -> list[Tensor]:
        """Up to eight clean estimates, evenly spaced, decoded."""
        with torch.no_grad():
            return [problem.backbone.decode(estimate).clamp(0, 1) for estimate in self.film.estimates()]

    def trace(self, row: int) -> dict[str, list[float | None]]:
        """The score and each penalty, by name: one number for each snapshot."""
        names = {name for _, penalties in self.rows for name in penalties}
        series: dict[str, list[float | None]] = {"score": [_rounded(scores, row) for scores, _ in self.rows]}
        return series | {f"penalty: {name}": [_rounded(given.get(name), row) for _, given in self.rows] for name in sorted(names)}


def _rounded(values: Tensor | None, row: int) -> float | None:
    return None if values is None else float(f"{values[row].item():.6g}")


def _prices(prepared: Prepared) -> dict[str, float]:
    """FLOPs of one row of each network. Where they cannot be counted, it warns and is empty, and costs are compared in evaluations."""
    try:
        return dict(flops_per_row(prepared.setup))
    except Exception as error:
        warnings.warn(
            f"The FLOPs of {describe(prepared.method)} with {prepared.problem.reward!r} could not be counted ({error_text(error)}). Its "
            "cost is given in evaluations only.",
            stacklevel=2,
        )
        return {}
