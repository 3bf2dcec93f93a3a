"""Pipelines that move or cast their weights, and whether a backward pass works with them.

`enable_sequential_cpu_offload` creates new parameters for every call, which the graph keeps. `enable_model_cpu_offload` moves a network
when the next one is called. Group offloading and layerwise casting change the data of parameters that the graph uses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tta_core.errors import IncompatibleError
from tta_plugins.backbones.modules import Modules


def is_offloaded(network: nn.Module) -> bool:
    """Whether hooks move its weights to the device for a call."""
    return any(
        vars(module).get("_hf_hook") is not None or ("_diffusers_hook" in vars(module) and _hook(module, "offload") is not None)
        for module in network.modules()  # of which a denoiser has thousands, and few have hooks
    )


@contextmanager
def kept_for_backward(modules: Modules) -> Iterator[None]:
    """Inside, a differentiated call does not move the previously called network off the device.

    Raises `IncompatibleError` for weights that are moved or changed as soon as the call has ended.
    """
    network = modules.network
    for name, registered in modules.hooks:
        _check_weights_stay(network, name, registered)
    hook: Any = getattr(network, "_hf_hook", None)
    before = getattr(hook, "prev_module_hook", None)
    try:
        if before is not None:
            hook.prev_module_hook = None
        yield
    finally:
        if before is not None:
            hook.prev_module_hook = before


def _check_weights_stay(network: nn.Module, name: str, hook: Any) -> None:
    group = getattr(hook, "group", None) if "group_offload" in name else None
    if group is not None and torch.device(group.onload_device) != torch.device(group.offload_device):
        raise IncompatibleError(
            f"Cannot differentiate {type(network).__name__} with group offloading. This is because its weights leave the device after each "
            "part of a call, and the backward pass needs them there. Use enable_model_cpu_offload or enable_sequential_cpu_offload, or a "
            "method without gradients (best-of-n)."
        )
    if "layerwise_cast" in name:
        raise IncompatibleError(
            f"Cannot differentiate {type(network).__name__} with layerwise casting. This is because its weights are cast back after each "
            "layer's call, and the backward pass needs them as they were. Load it in bfloat16, or use a method without gradients "
            "(best-of-n)."
        )


def _hook(module: nn.Module, named: str) -> Any:
    """A module's diffusers hook whose name contains this text; None without one."""
    hooks = getattr(getattr(module, "_diffusers_hook", None), "hooks", {})
    return next((hook for name, hook in hooks.items() if named in name), None)
