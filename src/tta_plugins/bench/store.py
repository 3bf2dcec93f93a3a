"""The cells that exist: each has a line in `cells.*.jsonl` and a PNG in its arm's folder. Nothing else records them."""

import io
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from PIL import Image

from tta_core.errors import InputError
from tta_plugins.bench.files import append_line, lines_of, object_of, save
from tta_plugins.bench.plan import Cell, Plan, Unit, slug
from tta_plugins.bench.spec import Arm

Record = Mapping[str, Any]
RESTORE = "Restore it, or start another folder."
_NEEDED = {
    "done": {"prompt", "seed", "seconds", "evaluations", "flops", "rows", "peak_bytes", "retries", "trace", "noise"},
    "failed": {"prompt", "seed", "error", "traceback"},
}


@attrs.frozen
class Store:
    """The folder of a comparison."""

    folder: Path

    def arm(self, arm: Arm) -> Path:
        """An arm's folder."""
        return self.folder / "arms" / slug(arm.name)

    def identity(self, arm: Arm) -> Path:
        """The file of what an arm's cells depend on."""
        return self.arm(arm) / "identity.json"

    def image(self, arm: Arm, cell: Cell) -> Path:
        """A cell's image."""
        return self.arm(arm) / "images" / f"{cell.name}.png"

    def strip(self, arm: Arm, cell: Cell) -> Path:
        """A cell's look-aheads, from left to right."""
        return self.arm(arm) / "strips" / f"{cell.name}.png"

    def identify(self, arm: Arm, identity: Mapping[str, Any]) -> str:
        """Save what an arm's cells depend on, once, and return its key. Engines, batches and the number of devices are not part of it.

        Raises:
            InputError: earlier cells of the arm were sampled with something else.
        """
        path = self.identity(arm)
        if not path.is_file():
            save(path, (json.dumps(identity, indent=1, sort_keys=True) + "\n").encode())
        saved = object_of(path, RESTORE)
        now = json.loads(json.dumps(identity))
        changed = sorted(name for name in {*saved, *now} if name != "prices" and saved.get(name) != now.get(name))
        if changed:
            what = "; ".join(f"{name}: {saved.get(name)!r:.200} then, {now.get(name)!r:.200} now" for name in changed)
            raise InputError(
                f"The earlier cells of {arm.name!r} in {self.folder} were sampled with something else ({what}), so new cells could not be "
                "compared with them. Restore what changed, or start another folder."
            )
        return str(saved["key"])

    def prices(self, arm: Arm) -> dict[str, float] | None:
        """FLOPs of one row by the ledger's names; empty if they could not be counted, None if the arm has no identity yet."""
        path = self.identity(arm)
        return object_of(path, RESTORE).get("prices", {}) if path.is_file() else None

    def keep(self, arm: Arm, cell: Cell, record: Record, image: Image.Image | None, strip: Image.Image | None = None) -> None:
        """Save a cell: first its images, then its line, since a cell exists once it has both."""
        for path, kept in ((self.image(arm, cell), image), (self.strip(arm, cell), strip)):
            if kept is not None:
                save(path, png(kept))
        file = self.arm(arm) / f"cells.{slug(platform.node() or 'host')}.jsonl"
        append_line(file, {"prompt": cell.prompt, "seed": cell.seed, **record})

    def cells(self, arm: Arm) -> dict[Cell, Record]:
        """The last record of each of an arm's cells. Damaged lines, and records of cells whose image is missing, are left out."""
        records: dict[Cell, Record] = {}
        for path in sorted(self.arm(arm).glob("cells.*.jsonl")):
            for record in filter(_is_record, lines_of(path)):
                cell = Cell(record["prompt"], record["seed"])
                is_there = record["status"] == "failed" or self.image(arm, cell).is_file()
                if is_there and (cell not in records or records[cell]["status"] != "done"):
                    records[cell] = record
        return records

    def all_cells(self, plan: Plan) -> dict[str, dict[Cell, Record]]:
        """The records of the plan's cells, by the arm's name."""
        planned = {arm.name: set(plan.cells(arm)) for arm in plan.arms}
        return {arm.name: {cell: record for cell, record in self.cells(arm).items() if cell in planned[arm.name]} for arm in plan.arms}


def png(image: Image.Image) -> bytes:
    """An image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def _is_record(value: Any) -> bool:
    """Whether it is a record that `keep` wrote."""
    needed = _NEEDED.get(str(value.get("status"))) if isinstance(value, dict) else None
    return needed is not None and needed <= value.keys() and all(type(value[name]) is int for name in ("prompt", "seed"))


def complete(plan: Plan, store: Store, units: Sequence[Unit]) -> list[Unit]:
    """The units whose cells are all done or failed."""
    kept = {name: store.cells(plan.arm(name)).keys() for name in {unit.arm for unit in units}}
    return [unit for unit in units if kept[unit.arm] >= set(unit.cells)]
