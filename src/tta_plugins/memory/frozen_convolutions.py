"""Convolutions that do not keep their input for the gradient of their weights, since weights are frozen in a run."""

from functools import partial
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input

from tta_core.protocols.memory import Setup
from tta_core.values.typing import frozen
from tta_plugins.memory.components import chosen_networks, refusal
from tta_plugins.memory.patching import replace


@frozen
class FrozenConvolutions:
    """Convolutions keep their input's shape instead of their input.

    torch keeps the input of every convolution for the weights' gradient, also where the weights are frozen, as they are in a run. The
    gradient with respect to the input needs only its shape. This saves a third of a decoder's activations, and nothing is computed twice.

    Exact: the same kernels on the same numbers.
    """

    components: tuple[Literal["denoiser", "decoder", "reward"], ...] = ("denoiser", "decoder", "reward")
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose convolutions do not keep their inputs."""
        networks = chosen_networks(setup, self.components, self)
        convolutions = [layer for network in networks for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        layers = [layer for layer in convolutions if _is_plain(layer)]
        if not layers:
            why = "each has its own forward (offloading hooks, a patch)" if convolutions else "the networks have none"
            raise refusal(self, setup, f"it changes the forward of convolutions, and {why}")
        for layer in layers:
            replace(setup.undo, layer, "forward", partial(_forward, layer))
        return setup


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether this layer computes the same as torch's `nn.Conv2d`; also True if the policy was already applied to it."""
    own = vars(layer).get("forward")
    untouched = own is None or (isinstance(own, partial) and own.func is _forward)
    return type(layer) is nn.Conv2d and untouched and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _forward(layer: nn.Conv2d, images: Tensor) -> Tensor:
    if layer.weight.requires_grad:
        return layer._conv_forward(images, layer.weight, layer.bias)
    return _Convolution.apply(images, layer)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, layer: nn.Conv2d) -> Tensor:
        ctx.shape, ctx.layer = images.shape, layer
        return conv2d(images, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        layer = ctx.layer
        return conv2d_input(ctx.shape, layer.weight, gradient, layer.stride, layer.padding, layer.dilation, layer.groups), None
