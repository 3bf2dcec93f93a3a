"""Networks whose parameters are fake tensors: torch can neither copy nor cast nor move them, so that is done here."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def fake_tensors(network: nn.Module) -> dict[int, Tensor]:
    """A tensor like each of a network's, by the `id` of the original: what `copy.deepcopy` needs to copy none. Give them no data: call it
    under a `FakeTensorMode`. They are in host memory, wherever the originals are."""
    fake = ((tensor, torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)) for tensor in tensors_of(network))
    return {id(it): nn.Parameter(new, it.requires_grad) if isinstance(it, nn.Parameter) else new for it, new in fake}


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*network.parameters(), *network.buffers()]


def simulate(network: nn.Module, device: str) -> None:
    """Let a network on fake tensors be copied, cast and moved, and tell a device ("cuda", "cpu"). It computes on the CPU whatever it tells.

    On the object, not by another class: transformers knows its models by the names of their classes.
    """
    ours = {"_apply": partial(_apply, network), "to": partial(_to, network), "__deepcopy__": partial(_copied, network)}
    vars(network).update(ours, _simulated_device=device)


def device_of(network: nn.Module) -> str | None:
    """The device that a simulated network tells; None for another network."""
    device: str | None = vars(network).get("_simulated_device")
    return device


def _to(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """Cast, and note the device."""
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None:
        vars(network)["_simulated_device"] = device.type
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
    ours = {name: vars(network).pop(name) for name in ("_apply", "to", "__deepcopy__", "_simulated_device")}
    try:
        twin = copy.deepcopy(network, memo | fake_tensors(network))
    finally:
        vars(network).update(ours)
    simulate(twin, ours["_simulated_device"])
    return twin
