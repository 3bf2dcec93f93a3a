"""How much a run may cost; it stops at the first snapshot beyond."""

from tta_core._typing import frozen
from tta_core.ledger import Ledger


@frozen
class Budget:
    """Limits; None does not limit. `evaluations` counts rows through the denoiser, forwards and backwards together."""

    seconds: float | None = None
    evaluations: int | None = None

    def spent(self, ledger: Ledger) -> str:
        """Which limit is exceeded, in words; empty while none is."""
        if self.seconds is not None and ledger.elapsed > self.seconds:
            return f"budget of {self.seconds:g} s spent"
        if self.evaluations is not None and ledger.evaluations > self.evaluations:
            return f"budget of {self.evaluations} evaluations spent"
        return ""
