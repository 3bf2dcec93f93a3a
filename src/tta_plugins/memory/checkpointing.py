"""Activation checkpointing: activations inside a block are not kept, but computed again in the backward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import attrs
import torch
from torch.utils.checkpoint import checkpoint

from tta_core.protocols.memory import Setup
from tta_core.values.typing import frozen
from tta_plugins.memory.blocks import blocks
from tta_plugins.memory.components import chosen_networks
from tta_plugins.memory.patching import replace

Forward = Callable[..., Any]


@frozen
class Checkpointing:
    """Keep only the inputs of each block of a network; every backward pass includes one more forward pass.

    Blocks are smaller than the units of diffusers' own checkpointing (a residual block, not a stage of them), so the decoder's peak is
    lower. It needs no training mode, and works on any torch network; it does not change the networks' own checkpointing flags.

    Exact. Source: Chen et al. 2016 (arXiv 1604.06174).
    """

    components: tuple[Literal["denoiser", "decoder", "reward"], ...] = ("denoiser", "decoder", "reward")
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose networks recompute their blocks."""
        for network in chosen_networks(setup, self.components, self):
            for piece in blocks(network):
                replace(setup.undo, piece, "forward", partial(_recomputed, piece.forward))
        return setup


def _recomputed(forward: Forward, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(_Repeatable(forward, args, kwargs), *args, use_reentrant=False, **kwargs)


class _Repeatable:
    """A call that may change lists among its arguments, such as the caches of causal video decoders. When it is called again, it gets
    copies of the lists as they were before the first call."""

    def __init__(self, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.forward, self.called = forward, False
        self.before = [list(value) if isinstance(value, list) else None for value in (*args, *kwargs.values())]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.called:
            values = [
                value if before is None else list(before) for value, before in zip((*args, *kwargs.values()), self.before, strict=True)
            ]
            args, kwargs = tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :], strict=True))
        self.called = True
        return self.forward(*args, **kwargs)
