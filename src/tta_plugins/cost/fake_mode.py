"""Fake tensors: every shape, dtype and byte of a tensor, and no data."""

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode


class FakeMode(FakeTensorMode):
    """torch's own, which takes real tensors too, and answers a question about the data of a fake tensor with yes or 1, so that checks such
    as "is everything finite" pass."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch wraps the next method, which takes as long as the method itself

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer, or run the operation."""
        if isinstance(args[0] if args else None, FakeTensor):
            if func is _DEVICE:
                return args[0].fake_device
            if func is _ITEM and args[0].constant is None:
                return True if args[0].dtype is torch.bool else 1.0 if args[0].is_floating_point() else 1
        return self.dispatch(func, types, args, kwargs or {})


_DEVICE, _ITEM = torch.ops.prim.device.default, torch.ops.aten._local_scalar_dense.default
