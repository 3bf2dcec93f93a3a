"""Integers that keep their data where everything else is on fake tensors, for models that read shapes and indices from tensors.

A forecast of cost runs a reward on fake tensors, which have no data. Vision-language models split their activations by the numbers of a
grid tensor, so those numbers must be real there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

_INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}


@contextmanager
def known_integers(images: Tensor) -> Iterator[None]:
    """Inside, integer and boolean tensors that are computed from such tensors or from numbers keep their data, if the images are fake."""
    if not isinstance(images, FakeTensor):
        yield
        return
    with _RealIntegers():
        yield


class _Known(Tensor):
    """A real tensor of integers. It keeps the rule outside of `known_integers` too, where checkpoints recompute a block."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function under the rule."""
        with _RealIntegers(), DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


class _RealIntegers(TorchDispatchMode):
    """Computes on real integers for real, and leaves every other operation to the mode below."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """The operation's result; real where it depends on real integers alone."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = all(isinstance(tensor, _Known) or (_whole(tensor) and not isinstance(tensor, FakeTensor)) for tensor in tensors)
        with _disable_current_modes():
            args, kwargs = tree_map_only(_Known, lambda given: given.as_subclass(Tensor), (args, dict(kwargs or {})))
        if not tensors:
            made = func(*args, **kwargs)
            if not (isinstance(made, FakeTensor) and _whole(made)):
                return made
        elif not known:
            return func(*(_without_masks(args) if func in _INDEXING else args), **kwargs)
        with _disable_current_modes():
            return tree_map_only(Tensor, lambda made: made.as_subclass(_Known), func(*args, **kwargs))


def _without_masks(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an indexing, masks as the places where they are True: how many there are is not known from a fake mask."""
    with _disable_current_modes():
        places = [mask.nonzero().unbind(1) if _is_mask(mask) else (mask,) for mask in args[1]]
    return args[0], [index for found in places for index in found], *args[2:]


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor)


def _whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()
