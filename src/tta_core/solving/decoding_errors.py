"""Errors for a backbone's outputs that are not finite or have no graph; they name the part that caused it."""

from tta_core.errors import IncompatibleError, NotFiniteError
from tta_core.protocols.backbone import Backbone
from tta_core.solving.checks import broken_weights
from tta_core.values.provenance import describe, name_of

_HALF = ("torch.float16", "torch.bfloat16")


def not_finite_images(backbone: Backbone) -> NotFiniteError:
    """The error for images that are not finite: broken weights, half precision, or steering that went too far."""
    what = f"{name_of(backbone)} decoded images that are not finite."
    if broken := broken_weights(backbone.networks):
        return NotFiniteError(f"{what} {broken}")
    half = sorted({role for role, network in backbone.networks.items() for one in network.parameters() if str(one.dtype) in _HALF})
    if half:
        return NotFiniteError(
            f"{what} Its {' and '.join(half)} compute in half precision, which may have overflowed: use float32 there, or memory='bf16' "
            "for float16. Otherwise the steering left the range in which they work: use a smaller learning rate or rho, or a stronger "
            "penalty."
        )
    return NotFiniteError(
        f"{what} The steering left the range in which its networks work, or its decoder gives NaN by itself: try method='fixed'. Use a "
        "smaller learning rate or rho, or a stronger penalty."
    )


def without_graph(backbone: Backbone, call: str) -> IncompatibleError:
    """The error for a call that returned no graph although its arguments require a gradient."""
    return IncompatibleError(
        f"Cannot differentiate {describe(backbone)}. This is because what its `{call}` returned does not depend differentiably on its "
        "arguments (no_grad, inference_mode or detach inside it). Remove that, or use a method without gradients (best-of-n)."
    )
