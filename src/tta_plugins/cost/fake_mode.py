"""Fake tensors: every shape, dtype and byte of a tensor, and no data."""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager


class FakeMode(FakeTensorMode):
    """torch's own, which takes real tensors too, and answers a question about the data of a fake tensor with yes or 1, so that checks such
    as "is everything finite" pass.

    Differs: an operation for which torch has a kernel that gives shapes alone is asked of that kernel, once for each form of its
    arguments. torch's own cache has many more conditions and takes three times as long; a forecast has some 30,000 operations.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._known: dict[object, object] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch wraps the next method, which takes as long as the method itself

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer, or run the operation."""
        kwargs = kwargs or {}
        if isinstance(args[0] if args else None, FakeTensor):
            if func is _DEVICE:
                return args[0].fake_device
            if func is _ITEM and args[0].constant is None:
                return True if args[0].dtype is torch.bool else 1.0 if args[0].is_floating_point() else 1
        values = (*args, *kwargs.items())
        if "device" in kwargs or not _has_shape_kernel(func) or not all(map(_is_fake, values)):
            return self.dispatch(func, types, args, kwargs)
        key = (func, torch.get_default_dtype(), *map(type, values), *map(_form, values))  # by types, since True is 1
        output = self._known.get(key)
        if output is None:
            with in_kernel_invocation_manager(self):
                output = func(*args, **kwargs)
            if not (func.is_view or func._schema.is_mutable):
                output = self._known[key] = _form(output)
        return self._fake(output)

    def _fake(self, output: Any) -> Any:
        if isinstance(output, _Form):
            output = torch.empty_strided(output.shape, output.stride, dtype=output.dtype, device="meta")
        elif isinstance(output, list | tuple):
            return [self._fake(value) for value in output]
        return FakeTensor(self, output, _CPU) if type(output) is Tensor else output


class _Form(NamedTuple):
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


def _form(value: Any) -> Any:
    """The forms of tensors; any other value is its own."""
    if isinstance(value, Tensor):
        return _Form(value.shape, value.stride(), value.dtype)
    return tuple(map(_form, value)) if isinstance(value, list | tuple) else value


def _is_fake(value: Any) -> bool:
    """Whether every tensor in an argument is fake, and no constant."""
    if isinstance(value, list | tuple):
        return all(map(_is_fake, value))
    return not isinstance(value, Tensor) or (isinstance(value, FakeTensor) and value.constant is None)


@cache
def _has_shape_kernel(func: Any) -> bool:
    """Whether torch has a kernel for this operation on tensors without data, and no exception from it."""
    if func.is_view:
        return True
    checks = [check for check, _ in fake_impls.op_implementations_checks]
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "Meta")) and not any(check(func) for check in checks)


_CPU = torch.device("cpu")
_DEVICE, _ITEM = torch.ops.prim.device.default, torch.ops.aten._local_scalar_dense.default
