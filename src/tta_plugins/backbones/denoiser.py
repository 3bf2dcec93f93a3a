"""Calls a denoiser as its own pipeline does; it may be compiled, parallel, patched, quantised or offloaded."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tta_core.errors import IncompatibleError, InputError
from tta_plugins.backbones.family import Pipeline, Traits
from tta_plugins.backbones.modules import Modules, inside
from tta_plugins.backbones.offloading import is_offloaded, kept_for_backward
from tta_plugins.backbones.quantised import gradients_pass

_CACHES = ("cache", "broadcast", "fbc_")  # parts of the names of diffusers' caching hooks


def device_of(network: nn.Module, pipeline: Pipeline) -> torch.device:
    """The device on which it computes; for a network that hooks offload, the device to which they move it. Raises `InputError` for
    parameters on the meta device."""
    if is_offloaded(network):
        return torch.device(pipeline._execution_device)
    parameters = list(network.parameters())
    if any(parameter.is_meta for parameter in parameters):
        left = next(name for name, parameter in network.named_parameters() if parameter.is_meta)
        raise InputError(
            f"The parameter {left} of {type(inside(network)).__name__} has no values: it is on the meta device, because loading was "
            "interrupted or offloading hooks were removed. Load the pipeline again."
        )
    return parameters[0].device if parameters else torch.device("cpu")


def called(modules: Modules, traits: Traits, arguments: Mapping[str, Any]) -> Any:
    """The denoiser's raw output. Raises `IncompatibleError` if the output has no graph although a gradient is needed."""
    network = modules.network
    args, kwargs = as_called(traits, arguments)
    is_differentiated = torch.is_grad_enabled() and carries_graph([*args, *kwargs.values()])
    with (
        kept_for_backward(modules) if is_differentiated else nullcontext(),
        gradients_pass(modules) if is_differentiated else nullcontext(),
    ):
        raw = network(*args, **kwargs, return_dict=False)[0]
    if is_differentiated and not carries_graph(raw):
        raise IncompatibleError(
            f"Cannot differentiate {type(network).__name__}. This is because its output does not depend differentiably on its "
            "inputs: its forward was replaced by one under no_grad, or by an engine without gradients. Use the denoiser as it was "
            "loaded, or a method without gradients (best-of-n)."
        )
    return raw


def as_called(traits: Traits, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by name as the pipeline passes them: some by position, the others by name."""
    named = {name: value for name, value in arguments.items() if name not in traits.positional and name != "return_dict"}
    return tuple(arguments[name] for name in traits.positional), named


def by_name(network: nn.Module, traits: Traits, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, also those that were given by position."""
    names = traits.positional
    if len(args) > len(names):
        names = tuple(inspect.signature(type(inside(network)).forward).parameters)[1:]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def check_repeatable(modules: Modules) -> None:
    """Raises `IncompatibleError` for a denoiser with a cache, whose output depends on earlier calls."""
    network = modules.network
    cached = next((name for name, _ in modules.hooks if any(word in name for word in _CACHES)), None)
    if cached is None and getattr(inside(network), "is_cache_enabled", False):
        cached = "a feature cache"
    if cached is not None:
        raise IncompatibleError(
            f"Cannot use {type(inside(network)).__name__} with {cached}. This is because its output then depends on earlier calls, and "
            "steering evaluates a step several times. Call `disable_cache()` on it, or remove the hook."
        )


def carries_graph(value: Any) -> bool:
    """Whether a tensor in a nested value requires a gradient."""
    if isinstance(value, Tensor):
        return value.requires_grad
    if isinstance(value, Mapping):
        return any(map(carries_graph, value.values()))
    return isinstance(value, list | tuple) and any(map(carries_graph, value))
