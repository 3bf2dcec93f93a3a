"""Quantised layers of a denoiser: whether a gradient passes through each of them.

Their weights are packed, so their forward is an engine of its own. An engine without a backward gives an output without a graph. Where a
residual connection goes around the layer, the denoiser's output keeps a graph, and its gradient would be wrong without a word.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tta_core.errors import IncompatibleError
from tta_plugins.backbones.modules import modules_of


@contextmanager
def gradients_pass(network: nn.Module) -> Iterator[None]:
    """Inside, a quantised layer whose output loses the graph of its input raises `IncompatibleError`."""
    hooks = [layer.register_forward_hook(partial(_check, network)) for layer in modules_of(network) if _is_quantised(layer)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_quantised(layer: nn.Module) -> bool:
    """Whether a weight is of a quantiser's own class, or of integers."""
    own = [weight for weight in layer._parameters.values() if weight is not None]
    return any(type(weight) is not nn.Parameter or not weight.dtype.is_floating_point for weight in own)


def _check(network: nn.Module, layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
    told = any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in given)
    if told and torch.is_grad_enabled() and isinstance(output, Tensor) and not output.requires_grad:
        name = next(name for name, module in network.named_modules() if module is layer)
        weight = next((type(weight).__name__ for weight in layer._parameters.values() if weight is not None), "")
        raise IncompatibleError(
            f"Cannot differentiate {type(network).__name__}. This is because its layer {name} is quantised ({weight}) and has no "
            "backward. Quantise the weights alone and leave the activations as they are, or use a method without gradients (best-of-n)."
        )
