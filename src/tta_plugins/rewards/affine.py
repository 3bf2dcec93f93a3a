"""Folds five linear layers without activations to one affine function, a vector and a number, computed once in float64.

It is the head of both the aesthetic predictor and ImageReward: 768-1024-128-64-16-1 with dropouts, which have no effect in evaluation mode.
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
    """weight . x + bias, in float32 on the device of x, for any dtype of x."""

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, ""]

    def __call__(self, x: Float[Tensor, "b d"]) -> Scores:
        """One number per row; the gradient does not depend on x."""
        return (x.float() * self.weight.to(x.device)).sum(-1) + self.bias.to(x.device)


def fold(state: Mapping[str, Tensor], where: str, prefix: str = "layers.", layers: Sequence[int] = _LAYERS) -> Affine:
    """The layers, by default `layers.{0,2,4,6,7}`, as one affine function.

    Raises `LoadError` for any other set of keys, or for shapes that do not fit together."""
    expected = {f"{prefix}{n}.{kind}" for n in layers for kind in ("weight", "bias")}
    refuse(expected - state.keys(), state.keys() - expected, where, "the five-layer linear head")
    weight, bias = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    try:
        for n in reversed(layers):
            bias = bias + weight @ state[f"{prefix}{n}.bias"].double()
            weight = weight @ state[f"{prefix}{n}.weight"].double()
    except RuntimeError as error:
        shapes = " ".join(str(tuple(state[f"{prefix}{n}.weight"].shape)) for n in layers)
        raise LoadError(
            f"{where} is not the head of this reward: its layers of shapes {shapes} do not give a single number. Use the file that "
            "docs/scores.md names."
        ) from error
    return Affine(weight[0].float(), bias[0].float())
