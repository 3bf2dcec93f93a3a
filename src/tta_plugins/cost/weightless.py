"""Networks whose parameters have no data: torch can neither copy nor cast nor move them, so that is done here."""

import copy
from collections.abc import Callable
from functools import partial
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


def weightless(network: nn.Module, place: str) -> None:
    """Make a network one that can do without data, and say that it is at a place ("cuda", "cpu"). It computes on the CPU wherever that is.

    On the object, not by another class: transformers knows its models by the names of their classes.
    """
    ours = {"_apply": partial(_apply, network), "to": partial(_to, network), "__deepcopy__": partial(_copied, network)}
    vars(network).update(ours, _place=place)


def place_of(network: nn.Module) -> str | None:
    """Where a network was moved to last; None if nobody has said where it is."""
    place: str | None = vars(network).get("_place")
    return place


def _to(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """Cast, and note the device."""
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None:
        vars(network)["_place"] = device.type
    return network if dtype is None else nn.Module.to(network, dtype)


def _apply(network: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    for parameter in network.parameters():
        parameter.data = change(parameter.data)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = change(buffer)
    return network


def _copied(network: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy without data."""
    ours = {name: vars(network).pop(name) for name in ("_apply", "to", "__deepcopy__", "_place")}
    try:
        twin = copy.deepcopy(network, memo | without_data(network))
    finally:
        vars(network).update(ours)
    weightless(twin, ours["_place"])
    return twin
