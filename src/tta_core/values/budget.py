"""A limit on the cost of a run; the run stops at the first snapshot that exceeds it."""

import math

from tta_core.errors import InputError
from tta_core.values.ledger import Ledger
from tta_core.values.typing import frozen


@frozen
class Budget:
    """Limits of a run; None means no limit. `evaluations` counts rows through the denoiser, forward and backward together. `flops` counts
    all floating-point operations, a multiply-add as two; for this, the FLOPs of each call are measured before the first step."""

    seconds: float | None = None
    evaluations: int | None = None
    flops: float | None = None

    def __attrs_post_init__(self) -> None:
        if any(limit is not None and not 0 < limit < math.inf for limit in (self.seconds, self.evaluations, self.flops)):
            raise InputError(f"{self!r} has a limit that is not finite or not above 0. Give finite limits above 0, or None for no limit.")

    def spent(self, ledger: Ledger) -> str:
        """A description of the limit that is exceeded; empty if none is."""
        if self.seconds is not None and ledger.elapsed > self.seconds:
            return f"budget of {self.seconds:g} s spent"
        if self.evaluations is not None and ledger.evaluations > self.evaluations:
            return f"budget of {self.evaluations} evaluations spent"
        if self.flops is not None and (ledger.flops or 0.0) > self.flops:
            return f"budget of {self.flops:g} FLOPs spent"
        return ""
