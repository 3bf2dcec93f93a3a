"""Changes a family's latents where they lie in the denoiser's arguments and outputs: as tokens, in a list, negated, beside other channels.

A family reads them from there (`seen`, `output`) by moving numbers and changing signs. The transpose of such a map is its inverse.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tta_core.values.typing import Latents

Held = Tensor | Sequence[Tensor]


def change_of(held: Held, read: Callable[[Any], Latents], change: Latents) -> Any:
    """What is to be added to what is held, so that `read` of it changes by `change`; differentiable in `change`."""
    parts = [part.detach().requires_grad_() for part in parts_of(held)]
    with torch.enable_grad():
        seen = read(parts[0] if isinstance(held, Tensor) else parts)
        added = torch.autograd.grad(seen, parts, change.to(seen.dtype), create_graph=True)
    return added[0] if isinstance(held, Tensor) else list(added)


def parts_of(held: Held) -> list[Tensor]:
    """The tensors."""
    return [held] if isinstance(held, Tensor) else list(held)
