"""Counts of waits, copies and memory on the simulated accelerator, and a limit of its memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import attrs
import torch
from torch import Tensor


@attrs.define
class Traffic:
    """Counts on the device.

    Attributes:
        waits: how often the host waited for a number or a tensor from the device.
        copies: the number of tensors sent to the device; `copied` is their size in bytes.
        allocated, peak: bytes in use now, and the most so far.
        limit: bytes beyond which an allocation raises `torch.OutOfMemoryError`; None: no limit.
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
            raise torch.OutOfMemoryError(f"{size} bytes requested, {self.allocated} of {self.limit} are in use")
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def note_release(self, size: int) -> None:
        """Count bytes that were freed."""
        self.allocated -= size


TRAFFIC = Traffic()


@contextmanager
def counted() -> Iterator[Traffic]:
    """Counts the events inside from zero; at the end the earlier counts are restored. Bytes in use are counted throughout."""
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
    """Sets the limit of the device's memory, in bytes, for the memory in use and new allocations inside."""
    before, TRAFFIC.limit = TRAFFIC.limit, size
    try:
        yield
    finally:
        TRAFFIC.limit = before
