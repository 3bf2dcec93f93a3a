"""Five linear layers without activations are one affine function; folded once in float64, they are one vector and one number.

The head of both the aesthetic predictor and ImageReward: 768-1024-128-64-16-1 with dropouts between, which do nothing in evaluation.
"""

from collections.abc import Mapping, Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.errors import LoadError
from tta_core.values.typing import Scores
from tta_plugins.rewards.weights import refuse

_LAYERS = (0, 2, 4, 6, 7)  # positions in the authors' nn.Sequential; those between are dropouts


@attrs.frozen(eq=False)
class Affine:
    """weight . x + bias, in float32 on the device of x whatever the dtype of x."""

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, ""]

    def __call__(self, x: Float[Tensor, "b d"]) -> Scores:
        """One number per row; gradients are constant in x."""
        return (x.float() * self.weight.to(x.device)).sum(-1) + self.bias.to(x.device)


def fold(state: Mapping[str, Tensor], where: str, prefix: str = "layers.", layers: Sequence[int] = _LAYERS) -> Affine:
    """The layers, `layers.{0,2,4,6,7}` unless told otherwise, as one.

    Raises `LoadError` for any other set of keys, or shapes that do not follow one another."""
    wanted = {f"{prefix}{n}.{kind}" for n in layers for kind in ("weight", "bias")}
    refuse(wanted - state.keys(), state.keys() - wanted, where, "the five-layer linear head")
    weight, bias = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    try:
        for n in reversed(layers):
            bias = bias + weight @ state[f"{prefix}{n}.bias"].double()
            weight = weight @ state[f"{prefix}{n}.weight"].double()
    except RuntimeError as error:
        shapes = " ".join(str(tuple(state[f"{prefix}{n}.weight"].shape)) for n in layers)
        raise LoadError(f"{where}: layers of shapes {shapes} do not follow one another to a single number. It is another head.") from error
    return Affine(weight[0].float(), bias[0].float())
