"""Networks whose parameters have no data: torch can neither copy nor cast nor move them, so that is done here."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def without_data(network: nn.Module) -> dict[int, Tensor]:
    """A tensor like each of a network's, by the `id` of the original: what `copy.deepcopy` needs to copy none. Give them no data: call it
    under a `FakeTensorMode`. They are in host memory, wherever the originals are."""
    fake = ((tensor, torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)) for tensor in tensors_of(network))
    return {id(it): nn.Parameter(new, it.requires_grad) if isinstance(it, nn.Parameter) else new for it, new in fake}


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*network.parameters(), *network.buffers()]


class Weightless(nn.Module):
    """What a network without data does instead when it is copied, cast or moved. It computes on the CPU; where it would be is noted."""

    _place: str

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A copy without data."""
        own = type(self)
        self.__class__ = own.__bases__[1]
        try:
            twin: nn.Module = copy.deepcopy(self, memo | without_data(self))
        finally:
            self.__class__ = own
        twin.__class__ = own
        return twin

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Weightless":
        for parameter in self.parameters():
            parameter.data = fn(parameter.data)
        for module in self.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> "Weightless":
        """Cast, and note the device."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        self._place = self._place if device is None else device.type
        return self if dtype is None else super().to(dtype)


def weightless(network: nn.Module, place: str) -> None:
    """Make a network one that can do without data. It is said to be at a place ("cuda", "cpu")."""
    if not isinstance(network, Weightless):
        network.__class__ = type(type(network).__name__, (Weightless, type(network)), {})
    vars(network)["_place"] = place


def place_of(network: nn.Module) -> str | None:
    """Where a network was moved to last; None if nobody has said where it is."""
    return network._place if isinstance(network, Weightless) else None
