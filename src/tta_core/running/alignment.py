"""The result of a run: images, scores, the baseline from the same noise, the trace, the cost and the record."""

import base64
import html
import io
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import torch

from tta_core.errors import InputError, SaveError
from tta_core.running.atomic_files import reason, write, write_all
from tta_core.running.folder import GRID, RECORD, emptied, image_names, place
from tta_core.running.outcome import Outcome, Scored, TraceRow
from tta_core.running.page import page_of
from tta_core.values import strict_json
from tta_core.values.arguments import shown, whole
from tta_core.values.images import to_pil
from tta_core.values.ledger import Ledger
from tta_core.values.prompts import facts_record
from tta_core.values.typing import Images, frozen

if TYPE_CHECKING:
    from PIL.Image import Image


@frozen
class Alignment:
    """A finished run.

    Attributes:
        result: aligned images with scores.
        baseline: images and scores of plain sampling from the same noise; None with `baseline=False`.
        trace: one row per snapshot.
        cost: the method's ledger; the baseline's cost is not in it.
        manifest: versions, seed, the repr of every part, citations: enough to run it again, except for tensors and images that
            the user gave; it lists their names (`given`).
        stopped: why the run ended early; empty if it did not.
        interrupted: whether Ctrl-C or a signal ended it.
        look_aheads: clean estimates during the run as small images, `(n, 3, h, w)`, of the first samples; kept by `tta align`.
    """

    prompts: tuple[str, ...]
    result: Outcome
    baseline: Outcome | None
    trace: tuple[TraceRow, ...] = attrs.field(repr=False)
    cost: Ledger
    manifest: Mapping[str, Any] = attrs.field(repr=False)
    stopped: str = ""
    interrupted: bool = False
    look_aheads: tuple[Images, ...] = attrs.field(default=(), repr=False)

    @property
    def images(self) -> "list[Image]":
        """The aligned images as 8-bit RGB PIL images."""
        return self.result.images

    @property
    def scores(self) -> Scored:
        """The aligned images' scores."""
        return self.result.scores

    def grid(self, enlarge: int = 1) -> "Image":
        """One row per prompt: the baseline on the left, if there is one, and the aligned image on the right; enlarged by a factor of 1 to
        64."""
        from PIL.Image import Resampling

        if whole("enlarge", enlarge) not in range(1, 65):
            raise InputError(f"enlarge is {enlarge}, but it takes a number from 1 to 64.")
        pairs = torch.cat([outcome.pixels for outcome in (self.baseline, self.result) if outcome is not None], dim=3)
        image = to_pil(torch.cat(list(pairs), dim=1))
        return image.resize((image.width * enlarge, image.height * enlarge), Resampling.LANCZOS)

    def table(self) -> list[tuple[str, str, str, str]]:
        """One row per prompt: the prompt, the baseline's score, the aligned image's score and the gain; "-" if there is no baseline."""
        before = [None] * len(self.prompts) if self.baseline is None else self.baseline.scores.values
        return [
            (prompt, "-" if plain is None else f"{plain:.4f}", f"{score:.4f}", "-" if plain is None else f"{score - plain:+.4f}")
            for prompt, plain, score in zip(self.prompts, before, self.scores, strict=True)
        ]

    def record(self) -> dict[str, Any]:
        """Everything except the pixels, as plain data for JSON; an infinity or a NaN becomes the text "inf", "-inf" or "nan"."""
        record = {
            "prompts": [str(prompt) for prompt in self.prompts],
            "facts": facts_record(self.prompts),
            "reward": self.scores.reward,
            "unit": self.scores.unit,
            "scores": list(self.scores),
            "baseline_scores": None if self.baseline is None else list(self.baseline.scores),
            "stopped": self.stopped,
            "cost": self.cost.record(),
            "trace": [attrs.asdict(row) for row in self.trace],  # type: ignore[arg-type]
            "manifest": dict(self.manifest),
        }
        return cast("dict[str, Any]", strict_json.plain(record))

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write `run.json`, `aligned.png`, `baseline.png` (numbered if there are several) and `grid.png`; returns the folder.

        Each file is written completely or not at all. If the folder holds another run's results, this run is saved to the next free
        folder (`folder-2` ...), with a warning; with `overwrite`, the other results are removed instead.

        Raises:
            InputError: nothing can be written there.
            SaveError: some files could not be written, for instance because the disk is full; the others were written. Save again.
        """
        if not isinstance(overwrite, bool):
            raise InputError(f"overwrite is {shown(overwrite)}, but it takes True or False.")
        record = f"{strict_json.dumps(self.record())}\n".encode()
        path = emptied(folder, record, overwrite)
        write_all(path, {RECORD: lambda: record, **self._images()})
        if path != Path(folder):
            warnings.warn(f"{folder} holds the results of another run, so this one was saved in {path}.", stacklevel=2)
        return path

    def _images(self) -> dict[str, Callable[[], bytes]]:
        made: dict[str, Callable[[], bytes]] = {}
        for kind, outcome in (("aligned", self.result), ("baseline", self.baseline)):
            if outcome is None:
                continue
            names = image_names(kind, len(outcome.pixels))
            made |= {name: partial(_png, pixels) for name, pixels in zip(names, outcome.pixels, strict=True)}
        enlarge = max(1, 256 // self.result.pixels.shape[-1])
        return {**made, GRID: lambda: _encoded(self.grid(enlarge))}

    def report(self, path: str | Path) -> Path:
        """Write one HTML page that shows the run and loads no other files; returns its path.

        Raises:
            LoadError: no plugin makes pages, or the plugin fails.
            SaveError: the file cannot be written.
        """
        page = page_of(self)
        file = place(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, page.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError) as error:
            raise SaveError(f"Cannot write {file}: {reason(error)}. Give another file.") from error
        return file

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows: baseline and result side by side, with their scores."""
        grid = base64.b64encode(_encoded(self.grid(enlarge=max(1, 128 // self.result.pixels.shape[-1])))).decode()
        shown = "aligned" if self.baseline is None else "baseline left, aligned right"
        image = f'<img alt="{shown}" src="data:image/png;base64,{grid}">'
        rows = "".join(f"<tr><td>{html.escape(prompt)}<td>{'<td>'.join(numbers)}" for prompt, *numbers in self.table())
        unit = html.escape(f"{self.scores.reward} ({self.scores.unit})")
        return f"{image}<table><tr><th>prompt<th>baseline<th>aligned<th>gain in {unit}{rows}</table><p>{html.escape(str(self.cost))}</p>"


def _png(pixels: torch.Tensor) -> bytes:
    return _encoded(to_pil(pixels))


def _encoded(image: "Image") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
