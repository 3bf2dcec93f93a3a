"""Networks of which each kind of call runs once, on fake tensors, and is measured; the others take as much memory and do no work."""

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
from tta_core.values.typing import Images, Latents, Scores, evolve, frozen
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.fake_setup import on_fake_tensors

_Call = Callable[..., Tensor]


@frozen
class CallCost:
    """Of one call of a network: FLOPs, and the most bytes above those that were alive before it, forward and backward.

    Attributes:
        kept: bytes that the graph keeps until the backward, inputs and output not included.
        flops_backward: None without a graph.
    """

    output: tuple[torch.Size, torch.dtype]
    flops: int
    peak: int
    kept: int = 0
    flops_backward: int | None = None
    peak_backward: int = 0


class MeasuredCalls:
    """The costs of the calls of a setup's networks, each measured when it is asked for first.

    Calls are of one kind if their inputs have the same shapes and dtypes and the same of them require a gradient. Attributes: `setup`,
    with networks that only repeat what was measured; `tracker`, whose FLOPs and peak are without the measurements; `differentiated`, how
    many calls kept a graph.
    """

    def __init__(self, fake: Setup, tracker: CostTracker) -> None:
        self._fake, self.tracker, self.differentiated = fake, tracker, 0
        self._known: dict[tuple[object, ...], CallCost] = {}
        backbone = WrappedBackbone(
            fake.backbone,
            predicting=lambda x, step, embedding: self._repeated(*self._denoiser(x, step, embedding)),
            decoding=lambda x0: self._repeated("decode", fake.backbone.decode, (x0,)),
        )
        decoder = fake.look_ahead
        look_ahead = None if decoder is None else lambda x0: self._repeated("look-ahead", decoder, (x0,))
        reward = WrappedReward(fake.reward, lambda images, prompts: self._repeated(*self._reward(images, prompts)))
        self.setup = evolve(fake, backbone=backbone, reward=reward, look_ahead=look_ahead)

    def denoiser(self, x: Latents, step: Step, embedding: Embedding) -> CallCost:
        """Of one guidance branch."""
        return self._cost(*self._denoiser(x, step, embedding))

    def decode(self, x0: Latents) -> CallCost:
        """Of the decoder."""
        return self._cost("decode", self._fake.backbone.decode, (x0,))

    def look_ahead(self, x0: Latents) -> CallCost:
        """Of the decoder for look-aheads."""
        return self.decode(x0) if self._fake.look_ahead is None else self._cost("look-ahead", self._fake.look_ahead, (x0,))

    def reward(self, images: Images, prompts: Sequence[str]) -> CallCost:
        """Of the reward."""
        return self._cost(*self._reward(images, prompts))

    def _denoiser(self, x: Latents, step: Step, embedding: Embedding) -> tuple[object, _Call, tuple[Tensor, ...]]:
        return ("denoiser", embedding.attention is None), partial(self._predict, step, embedding), (x, *embedding.leaves)

    def _predict(self, step: Step, embedding: Embedding, x: Latents, tokens: Tensor, pooled: Tensor | None = None) -> Latents:
        return self._fake.backbone.predict(x, step, evolve(embedding, tokens=tokens, pooled=pooled))

    def _reward(self, images: Images, prompts: Sequence[str]) -> tuple[object, _Call, tuple[Tensor, ...]]:
        return "reward", partial(self._scored, prompts), (images,)

    def _scored(self, prompts: Sequence[str], images: Images) -> Scores:
        return self._fake.reward(images, prompts)

    def _cost(self, component: object, call: _Call, inputs: tuple[Tensor, ...]) -> CallCost:
        key = component, torch.is_grad_enabled(), *((tensor.shape, tensor.dtype, tensor.requires_grad) for tensor in inputs)
        if key not in self._known:
            peak, flops = self.tracker.peak, self.tracker.flops
            self._known[key] = self._measured(call, tuple(tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs))
            self.tracker.peak, self.tracker.flops = peak, flops
        return self._known[key]

    def _measured(self, call: _Call, inputs: tuple[Tensor, ...]) -> CallCost:
        tracker = self.tracker
        tracker.restart()
        before, flops = tracker.now, tracker.flops
        with saved_tensors_hooks(_same, _same):  # those of a checkpoint around this call must not see the measurement
            output = call(*inputs)
        cost = CallCost((output.shape, output.dtype), tracker.flops - flops, tracker.peak - before)
        if not output.requires_grad:
            return cost
        kept = max(0, tracker.now - before - output.untyped_storage().nbytes())
        gradient = torch.ones_like(output)
        tracker.restart()
        before, flops = tracker.now, tracker.flops
        torch.autograd.grad(output, [tensor for tensor in inputs if tensor.requires_grad], gradient, allow_unused=True)
        return evolve(cost, kept=kept, flops_backward=tracker.flops - flops, peak_backward=tracker.peak - before)

    def _repeated(self, component: object, call: _Call, inputs: tuple[Tensor, ...]) -> Tensor:
        cost = self._cost(component, call, inputs)
        self.differentiated += cost.flops_backward is not None
        with torch.set_grad_enabled(cost.flops_backward is not None):
            repeated: Tensor = _Repeated.apply(cost, *inputs)
        return repeated


@contextmanager
def measured_calls(setup: Setup) -> Iterator[MeasuredCalls]:
    """A setup's networks on fake tensors, and its tracker, which is on."""
    with on_fake_tensors(setup) as fake, CostTracker() as tracker:
        yield MeasuredCalls(fake, tracker)


class _Repeated(torch.autograd.Function):
    """Makes and frees tensors of the sizes that were measured."""

    @staticmethod
    def forward(ctx: Any, cost: CallCost, *inputs: Tensor) -> Tensor:
        ctx.cost, ctx.forms = cost, [(tensor.shape, tensor.dtype) for tensor in inputs]
        shape, dtype = cost.output
        kept, output = _bytes(cost.kept), torch.empty(shape, dtype=dtype)
        _bytes(cost.peak - cost.kept - output.nbytes)
        ctx.save_for_backward(kept, *inputs)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        kept = ctx.saved_tensors  # in a checkpoint, this recomputes
        made = [
            torch.empty(shape, dtype=dtype) if needed else None
            for (shape, dtype), needed in zip(ctx.forms, ctx.needs_input_grad[1:], strict=True)
        ]
        _bytes(ctx.cost.peak_backward - sum(tensor.nbytes for tensor in made if tensor is not None))
        del kept
        return None, *made


def _bytes(count: int) -> Tensor:
    return torch.empty(max(0, count), dtype=torch.uint8)


def _same(tensor: Tensor) -> Tensor:
    return tensor
