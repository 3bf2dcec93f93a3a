"""Clean estimates on the way to a result, evenly spaced, for a film strip."""

import attrs
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Snapshot
from tta_core.values.typing import Images, Latents

LENGTH = 8
SAMPLES = 4
_SIDE = 160


@attrs.define
class FilmStrip:
    """Keeps clean estimates of the snapshots that it sees: as latents, and never more than twice as many as a strip shows."""

    kept: list[Latents] = attrs.field(factory=list)
    _last: Latents | None = None
    _seen: int = 0
    _stride: int = 1

    def see(self, snapshot: Snapshot) -> None:
        """Note a snapshot. An observer: `align(observers=[strip.see])`."""
        self._last = snapshot.x0.detach()
        if self._seen % self._stride == 0:
            self.kept.append(self._last)
        self._seen += 1
        if len(self.kept) == 2 * LENGTH:
            self.kept, self._stride = self.kept[::2], 2 * self._stride

    def estimates(self) -> list[Latents]:
        """Up to `LENGTH` of them from the first to the last; of one batch size."""
        if self._last is None:
            return []
        found = [*(kept for kept in self.kept if kept is not self._last and kept.shape == self._last.shape), self._last]
        places = {round(i * (len(found) - 1) / max(1, LENGTH - 1)) for i in range(LENGTH)}
        return [found[place] for place in sorted(places)]

    @torch.no_grad()
    def decoded(self, backbone: Backbone, samples: int) -> tuple[Images, ...]:
        """For each of the first `SAMPLES` samples its strip, `(n, 3, h, w)` in [0, 1], at most 160 pixels wide, on the CPU.

        Empty where the last snapshot was not of all `samples`, in a batch that was run again in parts. One
        image is decoded at a time, so it takes no more memory than a result; a strip costs `LENGTH` decodes.
        """
        estimates = self.estimates()
        count = min(SAMPLES, samples) if estimates and len(estimates[0]) == samples else 0
        return tuple(torch.cat([_thumbnail(backbone.decode(estimate[row : row + 1])) for estimate in estimates]) for row in range(count))


def _thumbnail(image: Tensor) -> Tensor:
    small = min(1.0, _SIDE / image.shape[-1])
    if small < 1:
        image = interpolate(image.float(), scale_factor=small, mode="bilinear", antialias=True)
    return image.float().clamp(0, 1).cpu()
