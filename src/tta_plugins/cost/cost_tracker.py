"""Counts FLOPs and the peak of live bytes of all operations in a context."""

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_Formula = Callable[..., int]


class CostTracker(TorchDispatchMode):
    """Adds up torch's FLOP formulas (matrix products, convolutions and attention; a multiply-add is two) for the operations in the
    context, including those of the backward pass, and counts the storage of each tensor that is created there while it is referenced.

    It counts real and fake tensors. Views share a storage, which counts once. Tensors that existed before (parameters, inputs) do not
    count. The peak is that of an allocator without waste. Tracking takes some 20 microseconds an operation.

    Attributes:
        flops: the FLOPs so far.
        now, peak: live bytes, and the most of them since `restart`.

    Differs: `torch.utils.flop_counter.FlopCounterMode` uses the same formulas, but it also tracks modules, which fails if
    `autograd.grad` differentiates to a tensor inside a module, and it has no formula for attention on the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.now = 0
        self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def restart(self) -> None:
        """Set the peak to the bytes that are live now."""
        self.peak = self.now

    def finish(self) -> int:
        """The peak since `restart`, in bytes."""
        return self.peak

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch wraps `__torch_dispatch__`, which doubles its time

    @no_type_check  # called for every operation
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and count its FLOPs and the tensors that it creates."""
        output = func(*args, **(kwargs or {}))
        self.note(func, args, kwargs or {}, output)
        return output

    @no_type_check  # called for every operation
    def note(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Count an operation that has run: its FLOPs, and the output tensors whose storage is not that of an argument."""
        if func.is_view:
            return
        self.flops += flops_of(func, args, kwargs, output)
        made = [output] if isinstance(output, Tensor) else [value for value in tree_iter(output) if isinstance(value, Tensor)]
        if made:
            given = {value.untyped_storage()._cdata for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)}
            for tensor in made:
                if tensor.untyped_storage()._cdata not in given:
                    self.count(tensor)

    @no_type_check  # called for every operation
    def count(self, tensor: Tensor) -> None:
        """Count a new tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._alive.get(key)
        if known is None or known() is not storage:
            self._alive[key] = weakref.ref(storage, partial(self._forget, key, size))
            self.now += size
            self.peak = max(self.peak, self.now)

    @no_type_check  # called for every operation
    def _forget(self, key: int, size: int, reference: object) -> None:
        self.now -= size
        if self._alive.get(key) is reference:
            del self._alive[key]


@no_type_check  # called for every operation
def flops_of(func: Any, args: Any, kwargs: Any, output: Any) -> int:
    """FLOPs of one operation by torch's formulas; 0 for an operation without a formula."""
    formula = _FORMULAS.get(func.overloadpacket)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=output))


def _attention(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


_FORMULAS: Mapping[Any, _Formula] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
