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
from tta_core.running.atomic_files import write
from tta_plugins.bench.append import append_line
from tta_plugins.bench.plan import Cell, Plan, Unit, slug
from tta_plugins.bench.spec import Arm

Record = Mapping[str, Any]


@attrs.frozen
class Store:
    """The folder of a comparison."""

    folder: Path

    def arm(self, arm: Arm) -> Path:
        """An arm's folder."""
        return self.folder / "arms" / slug(arm.name)

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
        path = self.arm(arm) / "identity.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, (json.dumps(identity, indent=1, sort_keys=True) + "\n").encode())
        saved = json.loads(path.read_text(encoding="utf-8"))
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
        path = self.arm(arm) / "identity.json"
        return json.loads(path.read_text(encoding="utf-8"))["prices"] if path.is_file() else None

    def keep(self, arm: Arm, cell: Cell, record: Record, image: Image.Image | None, strip: Image.Image | None = None) -> None:
        """Save a cell: first its images, then its line, since a cell exists once it has both."""
        for path, kept in ((self.image(arm, cell), image), (self.strip(arm, cell), strip)):
            if kept is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, png(kept))
        folder = self.arm(arm)
        folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"prompt": cell.prompt, "seed": cell.seed, **record}, allow_nan=False)
        append_line(folder / f"cells.{slug(platform.node() or 'host')}.jsonl", line)

    def cells(self, arm: Arm) -> dict[Cell, Record]:
        """The last record of each of an arm's cells. Incomplete lines, and cells whose image is missing, are left out."""
        records: dict[Cell, Record] = {}
        for path in sorted(self.arm(arm).glob("cells.*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                record = _record(line)
                if record is not None:
                    cell = Cell(record["prompt"], record["seed"])
                    if cell not in records or records[cell]["status"] != "done":
                        records[cell] = record
        return {cell: record for cell, record in records.items() if record["status"] == "failed" or self.image(arm, cell).is_file()}

    def all_cells(self, plan: Plan) -> dict[str, dict[Cell, Record]]:
        """The records of the plan's cells, by the arm's name."""
        planned = {arm.name: set(plan.cells(arm)) for arm in plan.arms}
        return {arm.name: {cell: record for cell, record in self.cells(arm).items() if cell in planned[arm.name]} for arm in plan.arms}


def png(image: Image.Image) -> bytes:
    """An image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        return record if isinstance(record, dict) and {"prompt", "seed", "status"} <= record.keys() else None
    except ValueError:
        return None


def complete(plan: Plan, store: Store, units: Sequence[Unit]) -> list[Unit]:
    """The units whose cells are all done or failed."""
    kept = {name: store.cells(plan.arm(name)).keys() for name in {unit.arm for unit in units}}
    return [unit for unit in units if kept[unit.arm] >= set(unit.cells)]
