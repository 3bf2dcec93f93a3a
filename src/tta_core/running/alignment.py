"""What a run gives back: images, scores, the baseline from the same noise, the trace, the cost and the record of the experiment."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from tta_core.running.folder import writable
from tta_core.values.ledger import Ledger
from tta_core.values.typing import Images, Scores, frozen

if TYPE_CHECKING:
    from PIL.Image import Image


@frozen
class Scored:
    """Scores with their unit; higher is better."""

    values: tuple[float, ...]
    unit: str
    reward: str

    @property
    def mean(self) -> float:
        """Over the samples."""
        return sum(self.values) / len(self.values)

    def __iter__(self) -> Iterator[float]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, sample: int) -> float:
        return self.values[sample]

    def __str__(self) -> str:
        return f"{', '.join(f'{value:.4f}' for value in self.values)} {self.unit} ({self.reward})"


@frozen
class Outcome:
    """Images, `(b, 3, H, W)` in [0, 1], and their scores."""

    pixels: Images = attrs.field(repr=False)
    scores: Scored

    @property
    def images(self) -> "list[Image]":
        """The images as 8-bit RGB pictures."""
        return [to_picture(image) for image in self.pixels]


@frozen
class TraceRow:
    """One snapshot, in numbers: per-sample reward, a mixture's parts, penalties; and seconds since the start."""

    index: int
    total: int
    seconds: float
    scores: tuple[float, ...] | None
    parts: Mapping[str, tuple[float, ...]]
    penalties: Mapping[str, tuple[float, ...]]


@frozen
class Alignment:
    """A finished run.

    Attributes:
        result, baseline: aligned images with scores, and plain sampling's from the same noise.
        trace: one row per snapshot.
        cost: the method's ledger; the baseline's cost is not in it.
        manifest: versions, seed, the repr of everything, citations: enough to run it again, but for tensors and pictures that were
            handed in, which it names (`given`).
        stopped: why the run ended early; empty if it did not.
        interrupted: whether that was Ctrl-C.
    """

    prompts: tuple[str, ...]
    result: Outcome
    baseline: Outcome
    trace: tuple[TraceRow, ...] = attrs.field(repr=False)
    cost: Ledger
    manifest: Mapping[str, Any] = attrs.field(repr=False)
    stopped: str = ""
    interrupted: bool = False

    @property
    def images(self) -> "list[Image]":
        """The aligned images, as 8-bit RGB pictures."""
        return self.result.images

    @property
    def scores(self) -> Scored:
        """The aligned images' scores."""
        return self.result.scores

    def grid(self, enlarge: int = 1) -> "Image":
        """Baseline (left) beside aligned (right), one row a prompt; smoothly enlarged so many times."""
        from PIL.Image import Resampling

        pairs = torch.cat([self.baseline.pixels, self.result.pixels], dim=3)
        picture = to_picture(torch.cat(list(pairs), dim=1))
        return picture.resize((picture.width * enlarge, picture.height * enlarge), Resampling.LANCZOS)

    def record(self) -> dict[str, Any]:
        """Everything but the pixels, as plain data for JSON."""
        return {
            "prompts": list(self.prompts),
            "reward": self.scores.reward,
            "unit": self.scores.unit,
            "scores": list(self.scores),
            "baseline_scores": list(self.baseline.scores),
            "stopped": self.stopped,
            "cost": self.cost.record(),
            "trace": [attrs.asdict(row) for row in self.trace],  # type: ignore[arg-type]
            "manifest": dict(self.manifest),
        }

    def save(self, folder: str | Path) -> Path:
        """Write `aligned.png`, `baseline.png` (numbered if there are several), `grid.png` and `run.json`; gives the folder."""
        path = writable(folder)
        for name, pictures in (("aligned", self.images), ("baseline", self.baseline.images)):
            for sample, picture in enumerate(pictures):
                picture.save(path / (f"{name}.png" if len(pictures) == 1 else f"{name}-{sample:02d}.png"))
        side = self.result.pixels.shape[-1]
        self.grid(enlarge=max(1, 256 // side)).save(path / "grid.png")
        (path / "run.json").write_text(json.dumps(self.record(), indent=1) + "\n", encoding="utf-8")
        return path


def to_picture(image: torch.Tensor) -> "Image":
    """One `(3, H, W)` image in [0, 1] as an 8-bit RGB picture."""
    from PIL import Image

    levels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def as_floats(scores: Scores) -> tuple[float, ...]:
    """Scores as Python floats."""
    return tuple(scores.detach().cpu().tolist())
