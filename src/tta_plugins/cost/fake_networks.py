"""Networks with fake parameters, which torch cannot copy, cast or move by itself."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def fake_tensors(network: nn.Module) -> dict[int, Tensor]:
    """A new tensor in the form of each tensor of a network, by the `id` of the original: a memo for `copy.deepcopy`. Call it under a
    `FakeMode`, so that the new tensors are fake. They are on the CPU, on whatever device the originals are."""
    fake = ((tensor, torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)) for tensor in tensors_of(network))
    return {id(it): nn.Parameter(new, it.requires_grad) if isinstance(it, nn.Parameter) else new for it, new in fake}


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*network.parameters(), *network.buffers()]


def simulate(network: nn.Module, device: str) -> None:
    """Make a network with fake parameters copyable, castable and movable. Its device ("cuda", "cpu") is a label that `to` changes; it
    computes on the CPU.

    The object is patched and keeps its class, because transformers recognises its models by the names of their classes.
    """
    ours = {"_apply": partial(_apply, network), "to": partial(_to, network), "__deepcopy__": partial(_copied, network)}
    vars(network).update(ours, _simulated_device=device)


def device_of(network: nn.Module) -> str | None:
    """The device label of a network that `simulate` patched; None for other networks."""
    device: str | None = vars(network).get("_simulated_device")
    return device


def _to(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """Cast, and store the device label."""
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
    """A copy with new fake parameters."""
    ours = {name: vars(network).pop(name) for name in ("_apply", "to", "__deepcopy__", "_simulated_device")}
    try:
        copied = copy.deepcopy(network, memo | fake_tensors(network))
    finally:
        vars(network).update(ours)
    simulate(copied, ours["_simulated_device"])
    return copied
