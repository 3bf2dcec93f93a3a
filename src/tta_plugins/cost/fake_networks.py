"""Networks with fake parameters, which torch cannot copy, cast or move by itself."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from tta_plugins.cost.fake_mode import FakeMode


def fake_tensors(network: nn.Module, mode: FakeMode) -> dict[int, Tensor]:
    """A fake tensor in the form of each tensor of a network, by the `id` of the original: a memo for `copy.deepcopy`. They are on the CPU,
    on whatever device the originals are."""
    fake = ((tensor, mode.empty(tensor.shape, tensor.dtype, tensor.stride())) for tensor in tensors_of(network))
    return {id(it): nn.Parameter(new, it.requires_grad) if isinstance(it, nn.Parameter) else new for it, new in fake}


def fake_network(network: Any, mode: FakeMode) -> Any:
    """A copy of a network with fake parameters, which can be copied, cast and moved."""
    with mode:
        fake = copy.deepcopy(network, fake_tensors(network, mode))
    simulate(fake, "cpu")
    return fake


def mode_of(tensors: Iterable[Tensor]) -> FakeMode | None:
    """The mode of the first fake tensor; None if there is none."""
    return next((cast(FakeMode, tensor.fake_mode) for tensor in tensors if isinstance(tensor, FakeTensor)), None)


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
        mode = mode_of(tensors_of(network))
        copied = copy.deepcopy(network, memo if mode is None else memo | fake_tensors(network, mode))
    finally:
        vars(network).update(ours)
    simulate(copied, ours["_simulated_device"])
    return copied
