"""Measures each kind of network call once on fake tensors; further calls only allocate as much memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tta_core.protocols.memory import Setup
from tta_core.protocols.wrappers import WrappedBackbone, WrappedReward
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, evolve, frozen
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.fake_mode import placeholder
from tta_plugins.cost.fake_setup import on_fake_tensors

_Call = Callable[..., Tensor]


@frozen
class CallCost:
    """The cost of one call of a network: FLOPs, and the peak of bytes above those that were live before it, forward and backward.

    Attributes:
        kept: bytes that the graph keeps until the backward pass, without inputs and output.
        flops_backward: FLOPs of the backward pass; None without a graph.
    """

    shape: torch.Size
    dtype: torch.dtype
    flops: int
    peak: int
    kept: int = 0
    flops_backward: int | None = None
    peak_backward: int = 0


class MeasuredCalls:
    """The costs of the calls of a setup's networks, each measured when it is first needed.

    Calls are of one kind if their inputs have the same shapes and dtypes and the same of them require a gradient.

    Attributes:
        setup: the setup with networks that allocate as much memory as was measured, and compute nothing.
        tracker: FLOPs and bytes, without those of the measurements.
        differentiated: the number of calls that kept a graph.
    """

    def __init__(self, fake: Setup, tracker: CostTracker, known: dict[object, CallCost]) -> None:
        self._fake, self.tracker, self.differentiated, self._known = fake, tracker, 0, known
        backbone = WrappedBackbone(
            fake.backbone,
            predicting=lambda x, step, embedding: self._repeated(self.denoiser(x, step, embedding), (x, *embedding.leaves)),
            decoding=lambda x0: self._repeated(self.decode(x0), (x0,)),
        )
        look_ahead = None if fake.look_ahead is None else lambda x0: self._repeated(self.look_ahead(x0), (x0,))
        reward = WrappedReward(fake.reward, lambda images, prompts: self._repeated(self.reward(images, prompts), (images,)))
        self.setup = evolve(fake, backbone=backbone, reward=reward, look_ahead=look_ahead)

    def denoiser(self, x: Latents, step: Step, embedding: Embedding) -> CallCost:
        """The cost of the denoiser for one guidance branch."""
        return self._cost(("denoiser", embedding.attention is None), partial(self._predict, step, embedding), (x, *embedding.leaves))

    def decode(self, x0: Latents) -> CallCost:
        """The cost of the decoder."""
        return self._cost("decode", self._fake.backbone.decode, (x0,))

    def look_ahead(self, x0: Latents) -> CallCost:
        """The cost of the decoder of look-aheads."""
        return self.decode(x0) if self._fake.look_ahead is None else self._cost("look-ahead", self._fake.look_ahead, (x0,))

    def reward(self, images: Images, prompts: Sequence[str]) -> CallCost:
        """The cost of the reward."""
        return self._cost("reward", lambda images: self._fake.reward(images, prompts), (images,))

    def _predict(self, step: Step, embedding: Embedding, x: Latents, tokens: Tensor, pooled: Tensor | None = None) -> Latents:
        return self._fake.backbone.predict(x, step, evolve(embedding, tokens=tokens, pooled=pooled))

    def _cost(self, component: object, call: _Call, inputs: tuple[Tensor, ...]) -> CallCost:
        graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        key = component, *((tensor.shape, tensor.dtype, graph and tensor.requires_grad) for tensor in inputs)
        if key not in self._known:
            peak, flops = self.tracker.peak, self.tracker.flops
            with torch.set_grad_enabled(graph):
                self._known[key] = self._measured(call, tuple(tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs))
            self.tracker.peak, self.tracker.flops = peak, flops
        return self._known[key]

    def _measured(self, call: _Call, inputs: tuple[Tensor, ...]) -> CallCost:
        tracker = self.tracker
        tracker.restart()
        before, flops = tracker.now, tracker.flops
        with saved_tensors_hooks(_same, _same):  # hooks of a checkpoint around this call must not see the measurement
            output = call(*inputs)
        cost = CallCost(output.shape, output.dtype, tracker.flops - flops, tracker.peak - before)
        if not output.requires_grad:
            return cost
        kept = max(0, tracker.now - before - output.untyped_storage().nbytes())
        gradient = torch.ones_like(output)
        tracker.restart()
        before, flops = tracker.now, tracker.flops
        torch.autograd.grad(output, [tensor for tensor in inputs if tensor.requires_grad], gradient, allow_unused=True)
        return evolve(cost, kept=kept, flops_backward=tracker.flops - flops, peak_backward=tracker.peak - before)

    def _repeated(self, cost: CallCost, inputs: tuple[Tensor, ...]) -> Tensor:
        self.differentiated += cost.flops_backward is not None
        with torch.set_grad_enabled(cost.flops_backward is not None):
            repeated: Tensor = _Repeated.apply(cost, *inputs)
        return repeated


@contextmanager
def measured_calls(setup: Setup, known: dict[object, CallCost] | None = None) -> Iterator[MeasuredCalls]:
    """The measured calls of a setup, on fake tensors. `known` has costs of calls that are known already; new ones are added to it."""
    tracker = CostTracker()
    with on_fake_tensors(setup, tracker) as fake:
        yield MeasuredCalls(fake, tracker, {} if known is None else known)


class _Repeated(torch.autograd.Function):
    """Allocates and frees tensors of the sizes that were measured."""

    @staticmethod
    def forward(ctx: Any, cost: CallCost, *inputs: Tensor) -> Tensor:
        ctx.cost, ctx.forms = cost, [(tensor.shape, tensor.dtype) for tensor in inputs]
        kept, output = _bytes(cost.kept), placeholder(cost.shape, cost.dtype)
        _bytes(cost.peak - cost.kept - output.nbytes)
        ctx.save_for_backward(kept, *inputs)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        kept = ctx.saved_tensors  # in a checkpoint, this recomputes
        forms = zip(ctx.forms, ctx.needs_input_grad[1:], strict=True)
        made = [placeholder(shape, dtype) if needed else None for (shape, dtype), needed in forms]
        _bytes(ctx.cost.peak_backward - sum(tensor.nbytes for tensor in made if tensor is not None))
        del kept
        return None, *made


def _bytes(count: int) -> Tensor:
    return placeholder((max(0, count),), torch.uint8)


def _same(tensor: Tensor) -> Tensor:
    return tensor
