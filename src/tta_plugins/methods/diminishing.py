"""An inner loop that ends for each sample when its updates gain little."""

import attrs
import torch

from tta_core.solving.steering import Tensors
from tta_core.values.typing import Scores


@attrs.define
class Diminishing:
    """Compares an objective from update to update; a sample ends when an update gains less than `share` of its gain so far.

    With a share of 0 no sample ends. With a share above 0 the host waits for the device once per update.
    """

    share: float
    first: Scores | None = None
    last: Scores | None = None
    going: torch.Tensor | None = None

    def ended(self, totals: Scores) -> bool:
        """Record the objective, one number per sample; returns whether every sample has ended."""
        if not self.share:
            return False
        if self.first is None or self.last is None or self.going is None:
            self.first, self.going = totals, torch.ones_like(totals, dtype=torch.bool)
        else:
            self.going = self.going & (totals - self.last >= self.share * (totals - self.first))
        self.last = totals
        return not bool(self.going.any())

    def hold(self, value: Tensors, before: Tensors) -> None:
        """Undo the update of the samples that have ended, in place, so that each sample is optimised as if it were alone."""
        if self.going is None:
            return
        with torch.no_grad():
            for now, old in zip(value, before, strict=True):
                now.copy_(torch.where(self.going.view(-1, *[1] * (now.dim() - 1)), now, old))
