"""Checks that gradients pass through the quantised layers of a denoiser.

Quantised weights are packed, so a special kernel computes the layer. A kernel without a backward pass returns an output without a graph.
If a residual connection bypasses the layer, the denoiser's output still has a graph, and its gradient would be wrong without an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tta_core.errors import IncompatibleError
from tta_plugins.backbones.modules import Modules


@contextmanager
def gradients_pass(modules: Modules) -> Iterator[None]:
    """Inside, a quantised layer whose output loses the graph of its input raises `IncompatibleError`."""
    network = modules.network
    hooks = [network.get_submodule(name).register_forward_hook(partial(_check, network, name)) for name in modules.quantised]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check(network: nn.Module, name: str, layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
    needs_gradient = any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in given)
    if needs_gradient and torch.is_grad_enabled() and isinstance(output, Tensor) and not output.requires_grad:
        weight = next((type(weight).__name__ for weight in layer._parameters.values() if weight is not None), "")
        raise IncompatibleError(
            f"Cannot differentiate {type(network).__name__}. This is because its layer {name} is quantised ({weight}) and has no "
            "backward pass. Quantise only the weights and not the activations, or use a method without gradients (best-of-n)."
        )
