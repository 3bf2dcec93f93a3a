"""torch.compile, block by block."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import attrs
import torch
from torch._dynamo import config
from torch.utils._pytree import tree_map_only

from tta_core.protocols.memory import Setup
from tta_core.values.typing import frozen
from tta_plugins.memory.blocks import blocks
from tta_plugins.memory.components import chosen_networks
from tta_plugins.memory.patching import replace


@frozen
class Compiled:
    """Compiles the repeated blocks of denoiser, decoder and reward by torch.compile. Blocks of one kind share their code, so this takes a
    fraction of the time that a whole network takes. Give it before "checkpointing", so that blocks are compiled inside checkpoints.

    Attributes:
        backend, mode: arguments of torch.compile; mode None is its default. "reduce-overhead" runs each block as a CUDA graph on a GPU, and
            its outputs are copied.

    Exact up to the order of sums. The first call with each shape (rows of a batch, size of an image) compiles, which takes tens of seconds.
    """

    components: tuple[Literal["denoiser", "decoder", "reward"], ...] = ("denoiser", "decoder", "reward")
    backend: str = "inductor"
    mode: str | None = None
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose blocks are compiled when they are first called."""
        pieces = [piece for network in chosen_networks(setup, self.components, self) for piece in blocks(network)]
        # torch counts the compilations of a function, which all blocks of a kind share, and stops compiling above a limit
        most = len(pieces) * config.cache_size_limit
        setup.undo.enter_context(
            config.patch(cache_size_limit=most, accumulated_cache_size_limit=max(most, config.accumulated_cache_size_limit))
        )
        for piece in pieces:
            compiled = torch.compile(piece.forward, backend=self.backend, mode=self.mode, dynamic=False)
            replace(setup.undo, piece, "forward", compiled if self.mode is None else partial(_cloned, compiled))
        return setup


def _cloned(compiled: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Copies the outputs, because the next call of a block of the same kind overwrites the memory of the CUDA graph."""
    return tree_map_only(torch.Tensor, torch.clone, compiled(*args, **kwargs))
