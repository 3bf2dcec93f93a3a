"""Half precision: casts networks for a run, and restores the user's float32 parameters afterwards, bit for bit.

Latents, embeddings, leaves, gradients and the sampler's kernel stay float32: backbones and rewards cast the inputs and outputs of networks.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor, nn

from tta_core.errors import InputError
from tta_core.protocols.memory import HALF_LOSS_SCALE, Setup
from tta_core.protocols.reward import networks_of
from tta_core.values.typing import evolve, frozen
from tta_plugins.memory.components import COMPONENTS, Component, chosen_networks, refusal

_Tensors = dict[str, Any]
_cast_now: WeakKeyDictionary[nn.Module, torch.dtype] = WeakKeyDictionary()  # networks cast by the policies of open runs, and to what


@frozen
class FP16:
    """Networks in float16: half the memory of parameters and activations, and tensor cores.

    Attributes:
        components: the networks that are cast, except those that overflow in float16 (`Defaults.float32`).
        loss_scale: the objective is multiplied by it before the backward pass, and the gradient divided by it, so that small gradients do
            not become 0 in float16.

    Approximate: a prediction differs by about 0.1 to 1 %.
    """

    components: tuple[Component, ...] = COMPONENTS
    loss_scale: float = HALF_LOSS_SCALE
    tolerance: float = attrs.field(default=0.02, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.loss_scale <= 0:
            raise InputError(f"{self!r} cannot run: the loss scale must be a positive factor, such as 1024; 1 does not scale.")

    def __call__(self, setup: Setup) -> Setup:
        """The setup with its networks cast, and the loss scaled."""
        _cast(setup, self.components, torch.float16, self)
        return evolve(setup, loss_scale=self.loss_scale)


@frozen
class BF16:
    """Networks in bfloat16: half the memory, and float32's range, so there is no overflow and no loss scale; three digits, float16 has
    four.

    Approximate: a prediction differs by about 1 %.
    """

    components: tuple[Component, ...] = COMPONENTS
    tolerance: float = attrs.field(default=0.05, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup with its networks cast."""
        _cast(setup, self.components, torch.bfloat16, self)
        return setup


def _cast(setup: Setup, components: Iterable[Component], dtype: torch.dtype, policy: object) -> None:
    excluded = {id(setup.backbone.networks[role]) for role in setup.backbone.defaults.float32 if role in setup.backbone.networks}
    cast = [network for network in chosen_networks(setup, components, policy) if dtype != torch.float16 or id(network) not in excluded]
    if any(tensor.is_meta for network in cast for tensor in network.parameters()):
        reason = "it keeps the parameters that it casts, but a network has none in memory (accelerate's offloading)"
        raise refusal(policy, setup, reason, "Load the pipeline without offloading, in the dtype that you want.")
    if any(map(_casts_itself, cast)):
        reason = "it casts parameters, and layerwise casting casts them too, before and after each layer's call"
        raise refusal(policy, setup, reason, "Load the pipeline without layerwise casting, or leave the policy out.")
    if any(_cast_now.get(network, dtype) != dtype for network in cast):
        reason = "another policy has cast one of these networks already, to another dtype"
        raise refusal(policy, setup, reason, "Give one policy, or two for different components.")
    for network in cast:
        _cast_network(setup.undo, network, dtype)
        _cast_now[network] = dtype
        setup.undo.callback(_cast_now.pop, network, None)
    if "reward" in components:
        for network in networks_of(setup.reward).values():
            setup.undo.callback(network.register_forward_pre_hook(_inputs_cast, with_kwargs=True).remove)


def _casts_itself(network: nn.Module) -> bool:
    """Whether diffusers' layerwise casting is enabled: layers then have another dtype between their calls than during them."""
    return any("layerwise_casting" in getattr(getattr(module, "_diffusers_hook", None), "hooks", {}) for module in network.modules())


def _cast_network(undo: ExitStack, network: nn.Module, dtype: torch.dtype) -> None:
    """Casts floating-point parameters and buffers. The originals are kept, in host memory if the network is on a device."""
    kept = [name for name in _in_float32(network, dtype) if name]
    for prefix, module in network.named_modules():
        if any(part in kept for part in prefix.split(".")):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_floating_point() and parameter.dtype != dtype:
                undo.callback(_restore_parameter, module, name, parameter, _kept(parameter.data), parameter.device)
                parameter.data = parameter.data.to(dtype)
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and buffer.dtype != dtype:
                undo.callback(module._buffers.__setitem__, name, buffer)
                module._buffers[name] = buffer.to(dtype)


def _in_float32(network: nn.Module, dtype: torch.dtype) -> list[str]:
    """Names of modules that diffusers and transformers keep in float32 when they load a network in this dtype themselves."""
    names: list[str] = []
    for module in network.modules():
        if dtype == torch.float16:
            names += getattr(module, "_keep_in_fp32_modules", None) or []
        names += getattr(module, "_keep_in_fp32_modules_strict", None) or []
    return names


def _kept(data: Tensor) -> Tensor:
    return data if data.device.type == "cpu" else data.to("cpu")


def _restore_parameter(module: nn.Module, name: str, parameter: nn.Parameter, original: Tensor, device: torch.device) -> None:
    """Restores the data and the parameter itself: a move between devices of different types may have replaced the object in the module."""
    parameter.data = original.to(device)
    module._parameters[name] = parameter


def _inputs_cast(network: nn.Module, args: tuple[Any, ...], kwargs: _Tensors) -> tuple[tuple[Any, ...], _Tensors]:
    """Casts floating-point inputs to the dtype of the network's parameters, for a reward that passes float32 images to its network."""
    dtype = next((parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()), None)
    return tuple(_to(value, dtype) for value in args), {name: _to(value, dtype) for name, value in kwargs.items()}


def _to(value: Any, dtype: torch.dtype | None) -> Any:
    return value.to(dtype) if dtype is not None and isinstance(value, Tensor) and value.is_floating_point() else value
