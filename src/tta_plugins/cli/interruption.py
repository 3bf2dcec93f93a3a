"""Handles Ctrl-C and the signals that end a job. The first one stops a run, which saves its best so far; later ones must not prevent that.

Slurm and Kubernetes send SIGTERM some seconds before SIGKILL. A terminal that closes sends SIGHUP.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

import attrs

from tta_core.running.signals import ENDING

if TYPE_CHECKING:
    from tta_core.protocols.method import Snapshot

PATIENCE = b"tta: already finishing; the best so far will be saved. Interrupt once more to discard it.\n"


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@attrs.define
class Interruption:
    """Handles the signals. The first raises `Interrupted` in a run, the second prints `PATIENCE`, the third raises in any case.

    `observe` is an observer of the run. After the last snapshot there is nothing to stop, so the first signal prints `PATIENCE` too.
    """

    received: list[int] = attrs.field(factory=list)
    finishing: bool = False

    @property
    def exit_code(self) -> int:
        """128 plus the number of the first signal, as shells do: 130, 143 or 129; 0 without a signal."""
        return 128 + self.received[0] if self.received else 0

    def stop(self) -> None:
        """Stop the run at its next snapshot, as Ctrl-C does. For other threads, which signals do not reach."""
        self.received.append(signal.SIGINT)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.received.append(number)
        if len(self.received) > 2 or not (self.finishing or len(self.received) == 2):
            raise Interrupted(number)
        with suppress(OSError):
            os.write(2, PATIENCE)  # the handler may have come between a print and its buffer

    def observe(self, snapshot: "Snapshot") -> None:
        """Record whether the snapshot is the last. If not, raise `Interrupted` again if a plugin has caught it."""
        self.finishing = snapshot.index + 1 >= snapshot.total
        if self.received and not self.finishing:
            raise Interrupted(self.received[0])


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle the signals while the context is open. Signals that the process ignores, for instance under `nohup`, stay ignored."""
    interruption = Interruption()
    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, interruption)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
