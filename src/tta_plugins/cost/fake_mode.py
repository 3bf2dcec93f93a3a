"""The dispatch mode of fake tensors, which have a shape, a dtype and a size in bytes, and no data."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, no_type_check

import torch
from torch import Tensor
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.nn import Buffer, Parameter

from tta_plugins.cost.cost_tracker import CostTracker, flops_of


class FakeMode(FakeTensorMode):
    """`FakeTensorMode` with three additions. Operations on real tensors alone run with their data, and new tensors of integers are
    real, so that models can read shapes and indices from them. `item()` of a fake tensor is True or 1, so that checks such as "all
    values are finite" pass. Random numbers are always fake, so that no generator advances.

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
        if not kinds <= _PLAIN:
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
            if not kinds and _is_whole(output) and torch.Tag.nondeterministic_seeded not in func.tags:
                return self._counted(func, args, kwargs, func(*args, **(kwargs | _ON_CPU)))
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
        """Run the operation as `FakeTensorMode` does, without counting inner operations. An unknown tensor class handles it itself."""
        with self.tracked_by(None):
            output = self.dispatch(func, types, args, kwargs)
            return func(*args, **kwargs) if output is NotImplemented else output

    @no_type_check  # called for every operation
    def _shaped(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The output of the operation's kernel for the device "meta"."""
        args, kwargs = _without_data(args), {name: _without_data(value) for name, value in kwargs.items()}
        with in_kernel_invocation_manager(self):
            return func(*args, **kwargs)

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
            output = _empty(output)
        return FakeTensor(self, output, _CPU) if type(output) is Tensor else output


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


@no_type_check  # called for every argument
def _without_data(value: Any) -> Any:
    """Real tensors become tensors on the device "meta"."""
    if isinstance(value, list | tuple):
        return [_without_data(each) for each in value]
    return _empty(_form(value)) if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else value


def _empty(form: _Form) -> Tensor:
    return torch.empty_strided(form.shape, form.stride, dtype=form.dtype, device="meta")


def _without_masks(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an indexing operation, whose real masks become the indices where they are True: a fake mask has no count."""
    indices = [mask.nonzero().unbind(1) if _is_mask(mask) else (mask,) for mask in args[1]]
    return args[0], [index for each in indices for index in each], *args[2:]


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor)


def _is_whole(output: Any) -> bool:
    """Whether it is a tensor of integers or of truth values."""
    return isinstance(output, Tensor) and not output.is_floating_point() and not output.is_complex()


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
_PLAIN = {Tensor, Parameter, Buffer, FakeTensor}
_INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}
_IN_PLACE = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default, torch.ops.aten.zero_.default, torch.ops.aten.fill_.Scalar}
_DEVICE, _ITEM = torch.ops.prim.device.default, torch.ops.aten._local_scalar_dense.default
