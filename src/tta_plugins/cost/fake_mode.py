"""Fake tensors: every shape, dtype and byte of a tensor, and no data."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, no_type_check

import torch
from torch import Tensor
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from tta_plugins.cost.cost_tracker import CostTracker, flops_of


class FakeMode(FakeTensorMode):
    """torch's own, which takes real tensors too, and answers a question about the data of a fake tensor with yes or 1, so that checks such
    as "is everything finite" pass.

    Attributes:
        tracker: counts the FLOPs and bytes of all that runs in this mode, if it is not None. It need not be entered, so that an operation
            is dispatched to Python once.

    Differs: the shapes, strides and dtypes of an operation's output, and its FLOPs, are kept by those of its arguments. torch's own cache
    has many more conditions and takes three times as long; a forecast has some 30,000 operations.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.tracker: CostTracker | None = None
        self._known: dict[object, tuple[Any, int]] = {}

    @contextmanager
    def tracked_by(self, tracker: CostTracker | None) -> Iterator[None]:
        """Inside, this tracker counts."""
        before, self.tracker = self.tracker, tracker
        try:
            yield
        finally:
            self.tracker = before

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch wraps the next method, which takes as long as the method itself

    @no_type_check  # called for every operation
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer, or run the operation."""
        kwargs = kwargs or {}
        if isinstance(args[0] if args else None, FakeTensor):
            if func is _DEVICE:
                return args[0].fake_device
            if func is _ITEM and args[0].constant is None:
                return True if args[0].dtype is torch.bool else 1.0 if args[0].is_floating_point() else 1
        values = (*args, *kwargs.values())
        fake = all(map(_is_fake, values))
        direct = fake and "device" not in kwargs and _has_shape_kernel(func)
        if _is_view(func):
            return self._fake(self._shaped(func, args, kwargs)) if direct else self._dispatched(func, types, args, kwargs)
        if direct and func in _IN_PLACE:
            return args[0]
        if direct and func._schema.is_mutable:
            return self._counted(func, args, kwargs, self._fake(self._shaped(func, args, kwargs)))
        if not fake or func._schema.is_mutable or func.namespace != "aten":
            return self._counted(func, args, kwargs, self._dispatched(func, types, args, kwargs))
        key = (func, torch.get_default_dtype(), *kwargs, *map(type, values), *map(_form, values))  # by types, since True is 1
        if key not in self._known:
            output = self._shaped(func, args, kwargs) if direct else self._dispatched(func, types, args, kwargs)
            if not _has_form(output):
                return self._counted(func, args, kwargs, self._fake(output))
            self._known[key] = _form(output), flops_of(func, args, kwargs, output)
        form, flops = self._known[key]
        output = self._fake(form)
        if self.tracker is not None:
            self.tracker.flops += flops
            for tensor in output if isinstance(output, list) else (output,):
                if isinstance(tensor, Tensor):
                    self.tracker.count(tensor)
        return output

    def _dispatched(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """torch's own way, whose inner operations are not counted. For a tensor class that torch does not know, that class is asked."""
        with self.tracked_by(None):
            output = self.dispatch(func, types, args, kwargs)
            return func(*args, **kwargs) if output is NotImplemented else output

    @no_type_check  # called for every operation
    def _shaped(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The output of torch's kernel that gives shapes alone."""
        with in_kernel_invocation_manager(self):
            return func(*args, **kwargs)

    @no_type_check  # called for every operation
    def _counted(self, func: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if self.tracker is not None:
            self.tracker.note(func, args, kwargs, output)
        return output

    @no_type_check  # called for every operation
    def _fake(self, output: Any) -> Any:
        """Fake tensors of these forms, or around tensors on the device "meta"."""
        if isinstance(output, list | tuple) and not isinstance(output, _Form):
            return [self._fake(value) for value in output]
        if isinstance(output, _Form):
            output = torch.empty_strided(output.shape, output.stride, dtype=output.dtype, device="meta")
        return FakeTensor(self, output, _CPU) if type(output) is Tensor else output


class _Form(NamedTuple):
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


@no_type_check  # called for every argument
def _form(value: Any) -> Any:
    """The forms of tensors; any other value is its own."""
    if isinstance(value, Tensor):
        return _Form(value.shape, value.stride(), value.dtype)
    return tuple(map(_form, value)) if isinstance(value, list | tuple) else value


@no_type_check  # called for every argument
def _has_form(output: Any) -> bool:
    """Whether forms tell an operation's output: kernels of shapes give tensors on "meta", torch fake ones."""
    if isinstance(output, list | tuple):
        return all(map(_has_form, output))
    return not isinstance(output, FakeTensor) or (output.constant is None and output.fake_device == _CPU)


@no_type_check  # called for every argument
def _is_fake(value: Any) -> bool:
    """Whether every tensor in an argument is fake, and no constant."""
    if isinstance(value, list | tuple):
        return all(map(_is_fake, value))
    return not isinstance(value, Tensor) or (isinstance(value, FakeTensor) and value.constant is None)


@cache
def _is_view(func: Any) -> bool:
    """Whether an operation's output shares the storage of an argument."""
    return func.is_view or func is torch.ops.aten._unsafe_view.default


@cache
def _has_shape_kernel(func: Any) -> bool:
    """Whether torch has a kernel for this operation on tensors without data, and no exception from it."""
    if _is_view(func):
        return True
    checks = [check for check, _ in fake_impls.op_implementations_checks]
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "Meta")) and not any(check(func) for check in checks)


_CPU = torch.device("cpu")
_IN_PLACE = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default, torch.ops.aten.zero_.default, torch.ops.aten.fill_.Scalar}
_DEVICE, _ITEM = torch.ops.prim.device.default, torch.ops.aten._local_scalar_dense.default
