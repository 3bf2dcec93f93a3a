"""The saved runs in the studio's folder, read from their records, including earlier ones and those of `tta align --out`."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from PIL import Image

from tta_core.running.folder import RECORD, image_names

LARGE = 512


@attrs.frozen
class Past:
    """A saved run: its folder, and the contents of its run.json."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """The prompt; of several, the first and the number of others."""
        first, *others = self.record["prompts"]
        return f"{first} (and {len(others)} more)" if others else first

    @property
    def scores(self) -> str:
        """The plain and the aligned score with their difference, as `tta align` prints them."""
        after, unit = self.record["scores"][0], self.record["unit"]
        if self.record["baseline_scores"] is None:
            return f"{float(after):.4f} {unit}"
        before = self.record["baseline_scores"][0]
        return f"{float(before):.4f} → {float(after):.4f} ({float(after) - float(before):+.4f}) {unit}"

    @property
    def method(self) -> str:
        """The method's name, without its settings."""
        return str(self.record["manifest"]["method"]).partition("(")[0]

    @property
    def rewards(self) -> tuple[tuple[int, float], ...]:
        """The number and the mean reward of each snapshot that has scores."""
        scored = [(place, row["scores"]) for place, row in enumerate(self.record["trace"], 1) if row["scores"]]
        return tuple((place, sum(map(float, scores)) / len(scores)) for place, scores in scored)

    @property
    def aligned(self) -> Image.Image:
        """The aligned image; of several, the first."""
        return self._image("aligned")

    @property
    def baseline(self) -> Image.Image | None:
        """The plain image, if there is one."""
        return None if self.record["baseline_scores"] is None else self._image("baseline")

    def _image(self, kind: str) -> Image.Image:
        with Image.open(self.folder / image_names(kind, len(self.record["prompts"]))[0]) as image:
            return enlarged(image.convert("RGB"))

    def zipped(self) -> bytes:
        """A zip file of the folder."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self.folder.rglob("*")):
                archive.write(path, path.relative_to(self.folder.parent))
        return buffer.getvalue()


def enlarged(image: Image.Image) -> Image.Image:
    """A small image enlarged smoothly by an integer factor, since a browser would blur it; a large image unchanged."""
    factor = max(1, LARGE // image.width)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def read(folder: Path) -> Past | None:
    """The run in a folder; None if there is none, or if it cannot be read."""
    try:
        past = Past(folder, json.loads((folder / RECORD).read_text("utf-8")))
        _ = past.prompt, past.scores, past.method, past.rewards, past.aligned
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return past


def runs_in(folder: Path, most: int = 48) -> list[Past]:
    """The latest runs in the folders within `folder`, the latest first."""
    records = sorted(folder.glob(f"*/{RECORD}"), key=_order, reverse=True)
    return [past for path in records[:most] if (past := read(path.parent)) is not None]


def _order(record: Path) -> tuple[int, int, str]:
    """The time of a record, and for file systems with whole seconds its folder's name: run-10 is later than run-9."""
    name = record.parent.name
    return record.stat().st_mtime_ns, len(name), name
