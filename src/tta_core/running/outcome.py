"""The outcome of a run: images with their scores, and the numbers of each snapshot."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from tta_core.values.images import to_pil
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
        """The mean over the samples."""
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
        """The images as 8-bit RGB PIL images."""
        return [to_pil(image) for image in self.pixels]


@frozen
class TraceRow:
    """The numbers of one snapshot: per-sample reward, a mixture's parts, penalties; and seconds since the start."""

    index: int
    total: int
    seconds: float
    scores: tuple[float, ...] | None
    parts: Mapping[str, tuple[float, ...]]
    penalties: Mapping[str, tuple[float, ...]]


def as_floats(scores: Scores) -> tuple[float, ...]:
    """Scores as Python floats."""
    return tuple(scores.detach().cpu().tolist())
