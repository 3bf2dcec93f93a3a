"""Integer tensors that keep their data among fake tensors, for models that read shapes and indices from tensors.

A cost forecast runs a reward on fake tensors, which have no data. Vision-language models split their activations by the numbers of a grid
tensor, so those numbers must be real.
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
    """A real tensor of integers. The rule also applies outside of `known_integers`, where checkpoints recompute a block."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function under the rule."""
        with _RealIntegers(), DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


class _RealIntegers(TorchDispatchMode):
    """Computes operations on real integers with their data, and passes every other operation to the mode below."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """The operation's result; it is real if it depends only on real integers."""
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
    """The arguments of an indexing operation, with masks replaced by the indices where they are True, since a fake mask has no count."""
    with _disable_current_modes():
        indices = [mask.nonzero().unbind(1) if _is_mask(mask) else (mask,) for mask in args[1]]
    return args[0], [index for each in indices for index in each], *args[2:]


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor)


def _whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()
