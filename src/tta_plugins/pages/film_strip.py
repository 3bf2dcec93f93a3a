"""Clean estimates of a run, evenly spaced over its snapshots, for a film strip."""

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
    """Keeps clean estimates of a run's snapshots as latents, at most twice as many as a strip shows."""

    kept: list[Latents] = attrs.field(factory=list)
    _last: Latents | None = None
    _seen: int = 0
    _stride: int = 1

    def see(self, snapshot: Snapshot) -> None:
        """Record a snapshot. It is an observer: `align(observers=[strip.see])`."""
        self._last = snapshot.x0.detach()
        if self._seen % self._stride == 0:
            self.kept.append(self._last)
        self._seen += 1
        if len(self.kept) == 2 * LENGTH:
            self.kept, self._stride = self.kept[::2], 2 * self._stride

    def estimates(self) -> list[Latents]:
        """Up to `LENGTH` estimates from the first to the last, all of one batch size."""
        if self._last is None:
            return []
        alike = [*(kept for kept in self.kept if kept is not self._last and kept.shape == self._last.shape), self._last]
        places = {round(i * (len(alike) - 1) / max(1, LENGTH - 1)) for i in range(LENGTH)}
        return [alike[place] for place in sorted(places)]

    @torch.no_grad()
    def decoded(self, backbone: Backbone, samples: int) -> tuple[Images, ...]:
        """The strips of the first `SAMPLES` samples: `(n, 3, h, w)` in [0, 1], at most 160 pixels wide, on the CPU.

        Empty if the last snapshot did not have all `samples`, because the batch was run again in parts. Images are decoded one at a
        time, so it needs no more memory than a result. A strip costs `LENGTH` decodes.
        """
        estimates = self.estimates()
        count = min(SAMPLES, samples) if estimates and len(estimates[0]) == samples else 0
        return tuple(torch.cat([_thumbnail(backbone.decode(estimate[row : row + 1])) for estimate in estimates]) for row in range(count))


def _thumbnail(image: Tensor) -> Tensor:
    small = min(1.0, _SIDE / image.shape[-1])
    if small < 1:
        image = interpolate(image.float(), scale_factor=small, mode="bilinear", antialias=True)
    return image.float().clamp(0, 1).cpu()
