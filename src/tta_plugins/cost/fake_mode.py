"""The dispatch mode of fake tensors, which have a shape, a dtype and a size in bytes, and no data."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, no_type_check

import torch
from torch import Tensor
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.nn import Buffer, Parameter
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from tta_plugins.cost.cost_tracker import CostTracker, flops_of


class FakeMode(FakeTensorMode):
    """`FakeTensorMode` with two additions. New tensors of at most 2^24 elements are real, and operations on real tensors alone run with
    their data. So models can read shapes and indices from integers, and functions may cache tables of constants: a tensor is fake if it
    depends on a network, or is large. Tensors without values (`torch.empty`) are zero. `item()` of a fake tensor is True or 1, so that
    checks such as "all values are finite" pass.

    Attributes:
        tracker: counts the FLOPs and bytes of all operations in this mode, if it is not None. It is called by this mode and must not be
            entered, so that an operation is dispatched to Python once.

    Differs: the form (shape, stride, dtype) of an operation's output and its FLOPs are cached by the forms of its arguments. torch's own
    cache checks many more conditions and takes three times as long; a forecast has some 30,000 operations.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.tracker: CostTracker | None = None
        self._known: dict[object, tuple[Any, int]] = {}

    @contextmanager
    def tracked_by(self, tracker: CostTracker | None) -> Iterator[None]:
        """In this context, the tracker counts."""
        before, self.tracker = self.tracker, tracker
        try:
            yield
        finally:
            self.tracker = before

    def empty(self, shape: Sequence[int], dtype: torch.dtype, stride: Sequence[int] | None = None) -> Tensor:
        """A fake tensor; by default it is contiguous. Its bytes are counted."""
        with _disable_current_modes():
            form = torch.empty(shape, dtype=dtype, device="meta") if stride is None else _meta(shape, stride, dtype)
            made: Tensor = self._fake(form)
        if self.tracker is not None:
            self.tracker.count(made)
        return made

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch wraps `__torch_dispatch__`, which doubles its time

    @no_type_check  # called for every operation
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or take its output's form from the cache."""
        kwargs = kwargs or {}
        first = args[0] if args else None
        if isinstance(first, FakeTensor):
            if func is _DEVICE:
                return first.fake_device
            if func is _ITEM:
                return True if first.dtype is torch.bool else 1.0 if first.is_floating_point() else 1
        values = (*args, *kwargs.values())
        kinds = set(map(type, _tensors(values)))
        if not kinds <= _PLAIN:  # a tensor class that torch does not know handles the operation itself
            return self._counted(func, args, kwargs, self._dispatched(func, types, args, kwargs))
        if kinds and FakeTensor not in kinds:
            return self._counted(func, args, kwargs, func(*args, **(kwargs | _ON_CPU if kwargs.get("device") is not None else kwargs)))
        if func in _INDEXING:
            args = _without_masks(args)
            values = (*args, *kwargs.values())
        direct = "device" not in kwargs and _has_shape_kernel(func)
        if _is_view(func):
            return self._fake(self._shaped(func, args, kwargs)) if direct else self._dispatched(func, types, args, kwargs)
        if direct and func in _IN_PLACE:
            return first
        if direct and func._schema.is_mutable:
            output = self._fake(self._shaped(func, args, kwargs))
            return self._counted(func, args, kwargs, output if isinstance(first, FakeTensor) else first)
        if func._schema.is_mutable or func.namespace != "aten":
            return self._counted(func, args, kwargs, self._dispatched(func, types, args, kwargs))
        key = (func, torch.get_default_dtype(), *kwargs, *map(type, values), *map(_form, values))  # by types, since True is 1
        if key not in self._known:
            output = self._shaped(func, args, kwargs) if direct else self._dispatched(func, types, args, kwargs)
            if not _has_form(output):
                return self._counted(func, args, kwargs, self._fake(output))
            self._known[key] = _form(output), flops_of(func, args, kwargs, output)
        form, flops = self._known[key]
        if not kinds and isinstance(form, _Form) and math.prod(form.shape) <= _MOST_REAL:
            output = func(*args, **(kwargs | _ON_CPU))
            return self._counted(func, args, kwargs, output.zero_() if func.overloadpacket.__name__.startswith("empty") else output)
        output = self._fake(form)
        if self.tracker is not None:
            self.tracker.flops += flops
            for tensor in output if isinstance(output, list) else (output,):
                if isinstance(tensor, Tensor):
                    self.tracker.count(tensor)
        return output

    def _dispatched(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Run the operation as `FakeTensorMode` does, without counting inner operations."""
        with self.tracked_by(None):
            output = self.dispatch(func, types, *self._faked((args, kwargs)))
            return func(*args, **kwargs) if output is NotImplemented else output

    @no_type_check  # called for every operation
    def _shaped(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The output of the operation's kernel for the device "meta"."""
        args, kwargs = self._faked((args, kwargs))
        with in_kernel_invocation_manager(self):
            return func(*args, **kwargs)

    @no_type_check  # called for every argument
    def _faked(self, value: Any) -> Any:
        """Arguments whose real tensors are replaced by fake ones."""
        if type(value) in (list, tuple):
            return [self._faked(each) for each in value]
        if type(value) is dict:
            return {name: self._faked(each) for name, each in value.items()}
        return self._fake(_form(value)) if type(value) in _REAL else value

    @no_type_check  # called for every operation
    def _counted(self, func: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if self.tracker is not None:
            self.tracker.note(func, args, kwargs, output)
        return output

    @no_type_check  # called for every operation
    def _fake(self, output: Any) -> Any:
        """Fake tensors of these forms, or of these tensors on the device "meta"."""
        if isinstance(output, list | tuple) and not isinstance(output, _Form):
            return [self._fake(value) for value in output]
        if isinstance(output, _Form):
            output = _meta(*output)
        return FakeTensor(self, output, _CPU) if type(output) is Tensor else output


def placeholder(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A fake tensor of the innermost `FakeMode` of this thread, or zeros outside of such a mode."""
    mode = next((mode for mode in reversed(_get_current_dispatch_mode_stack()) if isinstance(mode, FakeMode)), None)
    return torch.zeros(*shape, dtype=dtype) if mode is None else mode.empty(shape, dtype)


class _Form(NamedTuple):
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


@no_type_check  # called for every argument
def _form(value: Any) -> Any:
    """The forms of tensors; other values are returned as they are."""
    if isinstance(value, Tensor):
        return _Form(value.shape, value.stride(), value.dtype)
    return tuple(map(_form, value)) if isinstance(value, list | tuple) else value


@no_type_check  # called for every argument
def _has_form(output: Any) -> bool:
    """Whether an output can be created again from its form: it is on the device "meta", or fake and on the CPU."""
    if isinstance(output, list | tuple):
        return all(map(_has_form, output))
    return not isinstance(output, FakeTensor) or output.fake_device == _CPU


@no_type_check  # called for every argument
def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among arguments and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _meta(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _without_masks(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an indexing operation, whose real masks become the indices where they are True: a fake mask has no count."""
    indices = [mask.nonzero().unbind(1) if _is_mask(mask) else (mask,) for mask in args[1]]
    return args[0], [index for each in indices for index in each], *args[2:]


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor)


@cache
def _is_view(func: Any) -> bool:
    """Whether an operation's output shares the storage of an argument."""
    return func.is_view or func is torch.ops.aten._unsafe_view.default


@cache
def _has_shape_kernel(func: Any) -> bool:
    """Whether the operation has a kernel for the device "meta", and `FakeTensorMode` does not treat it specially."""
    if _is_view(func):
        return True
    checks = [check for check, _ in fake_impls.op_implementations_checks]
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "Meta")) and not any(check(func) for check in checks)


_CPU = torch.device("cpu")
_ON_CPU = {"device": _CPU}
_MOST_REAL = 2**24  # elements
_REAL = {Tensor, Parameter, Buffer}
_PLAIN = {*_REAL, FakeTensor}
_INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}
_IN_PLACE = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default, torch.ops.aten.zero_.default, torch.ops.aten.fill_.Scalar}
_DEVICE, _ITEM = torch.ops.prim.device.default, torch.ops.aten._local_scalar_dense.default
