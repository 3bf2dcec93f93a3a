"""A cheaper U-Net inside an optimisation: its encoder is evaluated once in a step, and later updates evaluate the up blocks alone."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Setup
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.arguments import share
from tta_core.values.controls import Embedding
from tta_core.values.provenance import name_of
from tta_core.values.trajectory import Step
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.memory.components import networks, refusal
from tta_plugins.memory.patching import replace


@frozen
class FrozenEncoder:
    """The first gradient at an x keeps the outputs of the U-Net's down and middle blocks; later gradients there evaluate the up blocks.

    Attributes:
        start: share of the steps, from the first, at which the U-Net is always evaluated whole.

    For methods that update an embedding several times at one x, such as Null-TTA. The U-Net is also evaluated whole without a gradient
    (children, results), with a gradient by x, and with `Embedding.attention`. Approximate: after the first update of a step the embedding
    acts through the up blocks alone.
    """

    start: float = attrs.field(default=0.2, validator=share)
    tolerance: float = attrs.field(default=0.5, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose U-Net keeps its encoder's outputs."""
        needs, method = setup.method.needs, name_of(setup.method)
        if needs.chain or not needs.gradient:
            why = "differentiates the whole chain" if needs.chain else "does not differentiate the reward"
            raise refusal(self, setup, f"it saves work in later gradients at one x, and {method} {why}")
        predict = _Predict(setup.backbone, self.start * len(setup.scheduler.steps))
        for block in self._encoder(setup):
            replace(setup.undo, block, "forward", partial(_forward, predict, block.forward))
        remark = "FrozenEncoder: FLOPs are counted as if every evaluation of the U-Net were whole"
        setup.undo.push(partial(_warn_if_unused, predict, self, method))
        return evolve(setup, backbone=WrappedBackbone(setup.backbone, predicting=predict), remarks=(*setup.remarks, remark))

    def _encoder(self, setup: Setup) -> list[nn.Module]:
        """The U-Net's down and middle blocks. Raises `IncompatibleError` for a denoiser that cannot be divided."""
        network: Any = next(iter(networks(setup, "denoiser")), None)
        down, middle, up = (getattr(network, name, None) for name in ("down_blocks", "mid_block", "up_blocks"))
        if not down or not up or not any(getattr(block, "has_cross_attention", False) for block in up):
            reason = f"it divides a U-Net with cross-attention, and the denoiser is {'none' if network is None else type(network).__name__}"
            raise refusal(self, setup, reason, 'Use memory="look-ahead", or a backbone with a U-Net (Stable Diffusion 1, 2 or XL).')
        if hasattr(network, "_orig_mod") or network._compiled_call_impl is not None:
            raise refusal(self, setup, "the U-Net is compiled as a whole", 'Use memory="compile", which compiles its blocks.')
        return [*down, *([] if middle is None else [middle])]


@attrs.define(eq=False)
class _Predict:
    """The backbone's `predict`. `first` is the first step at which the encoder's outputs are reused."""

    backbone: Backbone
    first: float
    x: Tensor | None = None  # a reference, so that no other tensor gets its storage
    point: tuple[int, ...] = ()
    kept: dict[object, list[Any]] = attrs.field(factory=dict)  # by rows of x, the outputs of the encoder's blocks in order
    differentiated: set[object] = attrs.field(factory=set)  # the rows whose first gradient was computed
    running: list[Any] | Iterator[Any] | None = None  # of the call in progress: the outputs to keep, or those to reuse
    gradients: int = 0
    reused: int = 0

    def __call__(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The raw output of one guidance branch."""
        steered = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in embedding.leaves) and embedding.attention is None
        if not steered or x.requires_grad:
            return self.backbone.predict(x, step, embedding)
        self.gradients += 1
        point = (step.index, x.untyped_storage()._cdata, x._version)
        if point != self.point:
            self.x, self.point, self.kept, self.differentiated = x, point, {}, set()
        rows = (x.storage_offset(), *(leaf.shape for leaf in embedding.leaves))
        if rows in self.differentiated and (outputs := self.kept.get(rows)):
            self.reused += 1
            self.running = iter(outputs)
        elif rows in self.kept:
            self.kept[rows] = []  # two evaluations before a gradient may be of two guidance branches: these rows stay whole
        elif step.index >= self.first:
            self.running = self.kept[rows] = []
        try:
            output = self.backbone.predict(x, step, embedding)
        finally:
            self.running = None
        output.register_hook(lambda _gradient, done=self.differentiated: done.add(rows))
        return output


def _forward(predict: _Predict, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if isinstance(predict.running, Iterator):
        return _copied(next(predict.running))
    outputs = forward(*args, **kwargs)
    if predict.running is not None:
        predict.running.append(_copied(outputs))
    return outputs


def _copied(outputs: Any) -> Any:
    """A copy without a graph, since a U-Net with a T2I adapter adds to outputs in place; a tensor that occurs twice does so in the copy."""
    copies: dict[int, Tensor] = {}
    return tree_map_only(Tensor, lambda tensor: copies.setdefault(id(tensor), tensor.detach().clone()), outputs)


def _warn_if_unused(predict: _Predict, policy: FrozenEncoder, method: str, error: type[BaseException] | None, *_: Any) -> None:
    if error is None and predict.gradients and not predict.reused:
        warnings.warn(
            f"{policy!r} had no effect: after the first {policy.start:.0%} of the steps {method} computed no second gradient of one "
            "guidance branch at one x. Leave the policy out, or use a method with more updates a step (Null-TTA).",
            stacklevel=2,
        )
