"""Ctrl-C and the signals that end a job: the first stops a run, which keeps its best so far, and what follows must not cost that.

Slurm and Kubernetes send SIGTERM some seconds before SIGKILL; a terminal that closes sends SIGHUP.
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

PATIENCE = b"tta: already finishing; what was reached will be saved. Once more gives it up.\n"


class Interrupted(KeyboardInterrupt):
    """A run was told to stop, by the signal of this number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@attrs.define
class Interruption:
    """Handles the signals: the first raises `Interrupted` in a run, the second asks for patience, the third raises in any case.

    An observer, too: after the last snapshot nothing is left to stop, so the first signal asks for patience, too.
    """

    received: list[int] = attrs.field(factory=list)
    finishing: bool = False

    @property
    def exit_code(self) -> int:
        """128 and the number of the first signal, as shells count: 130, 143 or 129; 0 if none came."""
        return 128 + self.received[0] if self.received else 0

    def stop(self) -> None:
        """Stop the run at its next snapshot, as Ctrl-C would: from another thread, which no signal reaches."""
        self.received.append(signal.SIGINT)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle one."""
        self.received.append(number)
        if len(self.received) > 2 or not (self.finishing or len(self.received) == 2):
            raise Interrupted(number)
        with suppress(OSError):
            os.write(2, PATIENCE)  # the handler may have come between a print and its buffer

    def observe(self, snapshot: "Snapshot") -> None:
        """Note the last snapshot; after another one, raise what a plugin has caught that was not meant for it."""
        self.finishing = snapshot.index + 1 >= snapshot.total
        if self.received and not self.finishing:
            raise Interrupted(self.received[0])


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle the signals while the context is open; one that the process was told to ignore, as by `nohup`, stays ignored."""
    interruption = Interruption()
    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, interruption)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
