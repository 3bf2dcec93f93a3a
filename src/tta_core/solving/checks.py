"""Checks that numbers are finite without waiting for the device after each check."""

from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

Refusal = Callable[[], Exception]


def broken_weights(networks: Mapping[str, nn.Module]) -> str:
    """A sentence that names the networks whose weights hold a NaN or an infinity, and the remedy; empty if there are none."""
    parameters = [(role, one) for role, network in networks.items() for one in network.parameters()]
    broken = sorted({role for role, one in parameters if not one.is_meta and not one.isfinite().all()})
    return f"The weights of its {' and '.join(broken)} hold a NaN or an infinity: load or download them again." if broken else ""


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
