"""An inner loop that ends for each sample when its updates gain little."""

import attrs
import torch

from tta_core.solving.steering import Tensors
from tta_core.values.typing import Scores


@attrs.define
class Diminishing:
    """Follows an objective from update to update; a sample has ended once an update gained less than `share` of its gain so far.

    With a share of 0 no sample ends. Costs one wait for the device an update, where it is above 0.
    """

    share: float
    first: Scores | None = None
    last: Scores | None = None
    going: torch.Tensor | None = None

    def ended(self, totals: Scores) -> bool:
        """Note the objective, one number a sample; whether every sample has ended."""
        if not self.share:
            return False
        if self.first is None or self.last is None or self.going is None:
            self.first, self.going = totals, torch.ones_like(totals, dtype=torch.bool)
        else:
            self.going = self.going & (totals - self.last >= self.share * (totals - self.first))
        self.last = totals
        return not bool(self.going.any())

    def hold(self, value: Tensors, before: Tensors) -> None:
        """Put the samples that have ended back to where they were, in place: each is optimised as if alone."""
        if self.going is None:
            return
        with torch.no_grad():
            for now, old in zip(value, before, strict=True):
                now.copy_(torch.where(self.going.view(-1, *[1] * (now.dim() - 1)), now, old))
