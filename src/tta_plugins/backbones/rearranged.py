"""Changes latents inside the denoiser's arguments and outputs, where they can be tokens, list items, negated, or next to other channels.

A family reads them (`latents`, `output`) by rearranging numbers and changing signs. The transpose of such a linear map is its inverse.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tta_core.values.typing import Latents

Held = Tensor | Sequence[Tensor]


def change_of(held: Held, read: Callable[[Any], Latents], change: Latents) -> Any:
    """The tensors to add to `held`, so that `read(held)` changes by `change`; differentiable in `change`."""
    parts = [part.detach().requires_grad_() for part in parts_of(held)]
    with torch.enable_grad():
        latents = read(parts[0] if isinstance(held, Tensor) else parts)
        added = torch.autograd.grad(latents, parts, change.to(latents.dtype), create_graph=True)
    return added[0] if isinstance(held, Tensor) else list(added)


def parts_of(held: Held) -> list[Tensor]:
    """The tensors of a tensor or a list, as a list."""
    return [held] if isinstance(held, Tensor) else list(held)
