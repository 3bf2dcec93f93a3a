"""Checks that numbers are finite without waiting for the device after each check."""

from collections.abc import Callable, Sequence

import attrs
import torch
from torch import Tensor

Refusal = Callable[[], Exception]


@attrs.define
class Checks:
    """All checks that numbers are finite. On the CPU, and unless `deferred`, a failed check raises at once.

    Deferred checks are read together with other numbers that the host reads from the device, so it waits once for all of them.
    """

    deferred: bool = False
    _pending: list[tuple[Tensor, Refusal]] = attrs.field(factory=list)

    def finite(self, tensors: Sequence[Tensor], refusal: Refusal) -> None:
        """Raises the error that `refusal` makes, now or at the next `read`, if one of the tensors holds a NaN or an infinity."""
        flags = [torch.isfinite(tensor).all() for tensor in tensors]
        finite = flags[0] if len(flags) == 1 else torch.stack(flags).all()
        if self.deferred and finite.device.type != "cpu":
            self._pending.append((finite, refusal))
        elif not finite:
            raise refusal()

    def read(self, values: Sequence[Tensor] = ()) -> list[list[float]]:
        """These numbers, each tensor as a flat list, in one transfer with the deferred checks. Raises the error of the first failed
        check."""
        pending, self._pending = self._pending, []
        numbers = [flag.double().flatten() for flag, _ in pending] + [value.detach().double().flatten() for value in values]
        if not numbers:
            return []
        together = torch.cat([part.to(numbers[0].device) for part in numbers]).cpu().tolist()
        for flag, (_, refusal) in zip(together, pending, strict=False):
            if not flag:
                raise refusal()
        read, place = [], len(pending)
        for value in values:
            read.append(together[place : place + value.numel()])
            place += value.numel()
        return read
