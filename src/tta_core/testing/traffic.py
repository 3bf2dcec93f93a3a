"""What happens on the simulated accelerator: waits, copies and memory, counted; and a limit of its memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import attrs
import torch
from torch import Tensor


@attrs.define
class Traffic:
    """What happened on the device.

    Attributes:
        waits: how often the host waited for a number, or for a tensor to arrive.
        copies: tensors sent to the device, their bytes in `copied`.
        allocated, peak: bytes alive now, and at most.
        limit: bytes beyond which an allocation raises `torch.OutOfMemoryError`; None: none does.
    """

    waits: int = 0
    copies: int = 0
    copied: int = 0
    allocated: int = 0
    peak: int = 0
    limit: int | None = None

    def note_copies(self, sent: Iterable[Tensor]) -> None:
        """Count tensors that are sent to the device."""
        for tensor in sent:
            self.copies += 1
            self.copied += tensor.numel() * tensor.element_size()

    def note_allocation(self, size: int) -> None:
        """Count bytes; raises `torch.OutOfMemoryError` beyond the limit."""
        if self.limit is not None and self.allocated + size > self.limit:
            raise torch.OutOfMemoryError(f"{size} bytes asked, {self.allocated} of {self.limit} are taken")
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def note_release(self, size: int) -> None:
        """Bytes that nobody holds any more."""
        self.allocated -= size


TRAFFIC = Traffic()


@contextmanager
def counted() -> Iterator[Traffic]:
    """What happens inside, from zero; afterwards the counts of before go on. Bytes alive go on counting."""
    before = attrs.evolve(TRAFFIC)
    TRAFFIC.waits = TRAFFIC.copies = TRAFFIC.copied = 0
    TRAFFIC.peak = TRAFFIC.allocated
    inside = TRAFFIC
    try:
        yield inside
    finally:
        TRAFFIC.waits, TRAFFIC.copies, TRAFFIC.copied = before.waits, before.copies, before.copied


@contextmanager
def limited(size: int) -> Iterator[None]:
    """The device has so many bytes for what is alive now and what is made inside."""
    before, TRAFFIC.limit = TRAFFIC.limit, size
    try:
        yield
    finally:
        TRAFFIC.limit = before
