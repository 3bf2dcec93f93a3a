"""A simulated accelerator: tensors that claim another device, compute on the CPU, and refuse to mix with CPU tensors.

On any machine it detects errors that a GPU would: a tensor on the wrong device, a wait for a number, an unnecessary copy, and full device
memory. It does not show speed. `use_accelerator()` registers it, with torch's Python backend for "privateuseone".
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from tta_core.testing.traffic import TRAFFIC

NAME = "simulated"
_aten = torch.ops.aten
_INDEXED = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)  # these accept indices on the host
_RESIZED = ("arange", "arange.start", "arange.start_step", "eye", "eye.m")  # torch makes these empty and resizes them
_COPIES = (_aten._to_copy.default, _aten.copy_.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default)


@cache
def use_accelerator() -> torch.device:
    """Registers the device, once per process, and returns it. From then on the process computes on one thread: another one would wait for
    Python's lock, which is held while the device computes."""
    torch.set_num_threads(1)
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    torch._C._set_only_lift_cpu_tensors(True)
    torch.autograd.set_multithreading_enabled(False)  # a device's own thread cannot make tensors of Python numbers here
    _LIBRARIES.append(torch.library.Library("_", "IMPL"))
    _LIBRARIES[0].fallback(lambda operation, *args, **kwargs: _run(operation, args, kwargs or {}), "PrivateUse1")
    _LIBRARIES.append(torch.library.Library("aten", "IMPL"))
    for name in _RESIZED:
        operation = getattr(getattr(_aten, name.partition(".")[0]), name.partition(".")[2] or "default")
        _LIBRARIES[1].impl(name, partial(_made, operation), "PrivateUse1")
    Tensor.data = property(_data.__get__, _set_data)  # type: ignore[assignment]
    return torch.device(NAME, 0)


_data: Any = Tensor.data


def _set_data(tensor: Tensor, other: Tensor) -> None:
    """`tensor.data = other`, also from one device to the other, where the class of the tensor changes."""
    if isinstance(tensor, Remote) == isinstance(other, Remote):
        _data.__set__(tensor, other)
    else:
        is_parameter = isinstance(tensor, nn.Parameter)
        torch.utils.swap_tensors(tensor, nn.Parameter(other, tensor.requires_grad) if is_parameter else other.detach())


_LIBRARIES: list[torch.library.Library] = []  # a library's kernels are removed when it is deleted


class _Module(_DummyBackendModule):
    """The functions that torch calls on a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        """Does nothing: random numbers of this device come from the CPU's generator."""

    def device(self, device: object) -> Any:
        return torch.device(NAME, 0)

    def synchronize(self, device: object = None) -> None:
        TRAFFIC.waits += 1

    def empty_cache(self) -> None:
        """Does nothing: there is no cache."""


class Remote(Tensor):
    """A tensor on the simulated device. Its numbers are an attribute of its storage, so that `parameter.data = other` moves them too."""

    @staticmethod
    def __new__(cls, data: Tensor, requires_grad: bool | None = None) -> Any:
        """A tensor on the device with these numbers; with `requires_grad`, as accelerate calls the class of a parameter, a parameter."""
        if requires_grad is not None:
            return nn.Parameter(data, requires_grad)
        with no_dispatch():
            made: Any = Tensor._make_wrapper_subclass(
                cls,
                data.size(),
                strides=data.stride(),
                storage_offset=data.storage_offset(),
                dtype=data.dtype,
                device=torch.device(NAME, 0),
                requires_grad=False,
            )
        storage = made.untyped_storage()
        storage.numbers = data
        return made

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"Remote({_numbers(self)})"

    def tolist(self) -> Any:
        """The numbers as lists; counts one wait for the device."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Runs the operation on the CPU."""
        return _run(operation, args, kwargs or {})


def _numbers(tensor: Tensor) -> Tensor:
    return tensor.untyped_storage().numbers  # type: ignore[attr-defined]


def _allocated(data: Tensor) -> None:
    """Counts a storage once."""
    storage: Any = data.untyped_storage()
    if not hasattr(storage, "counted"):
        size = storage.nbytes()
        TRAFFIC.note_allocation(size)
        storage.counted = weakref.finalize(storage, TRAFFIC.note_release, size)


def _is_remote(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _made(operation: Any, *args: Any, **kwargs: Any) -> Any:
    return _run(operation, args, kwargs)


def _run(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in _leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
    remote, device = [tensor for tensor in tensors if isinstance(tensor, Remote)], kwargs.get("device")
    if operation is _aten._local_scalar_dense.default:
        TRAFFIC.waits += 1
    if operation in _COPIES:
        stays = _copied(operation, args, device)
    else:
        stays = bool(remote) or _is_remote(device)
        foreign = [tensor for tensor in tensors if not isinstance(tensor, Remote) and tensor.dim() > 0]
        if operation in _INDEXED and isinstance(args[0], Remote):
            indices = [index for index in args[1] if isinstance(index, Tensor) and not isinstance(index, Remote)]
            foreign = [tensor for tensor in foreign if not any(tensor is index for index in indices)]
            TRAFFIC.note_copies(indices)
        if remote and foreign:
            shapes = [tuple(tensor.shape) for tensor in foreign]
            raise RuntimeError(f"Expected all tensors to be on the same device: {operation} mixes {NAME} and cpu {shapes}")
    if _is_remote(device):
        kwargs = {**kwargs, "device": "cpu"}
    if operation is not _aten.copy_.default:
        kwargs.pop("non_blocking", None)
    output = operation(*_mapped(_here, args), **{name: _mapped(_here, value) for name, value in kwargs.items()})
    known = {id(_numbers(tensor)): tensor for tensor in remote}
    return _mapped(lambda leaf: _there(leaf, known), output) if stays else output


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    """The values, and those in lists and tuples: operations have no other containers. torch's pytree takes five times as long."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """The value changed, or a list or tuple with its values changed."""
    return type(value)([_mapped(change, each) for each in value]) if isinstance(value, list | tuple) else change(value)


def _here(leaf: Any) -> Any:
    return _numbers(leaf) if isinstance(leaf, Remote) else leaf


def _there(leaf: Any, known: dict[int, Remote]) -> Any:
    if not isinstance(leaf, Tensor) or isinstance(leaf, Remote):
        return leaf
    if id(leaf) in known:
        return known[id(leaf)]
    _allocated(leaf)
    return Remote(leaf)


def _copied(operation: Any, args: Any, device: Any) -> bool:
    """Counts a copy to the device, or a wait for a copy from it. Returns whether the result is on the device."""
    if operation is _aten.copy_.default:
        target, source = (isinstance(tensor, Remote) for tensor in args[:2])
    else:
        source = isinstance(args[0], Remote)
        target = source if device is None else _is_remote(device)
    moved = args[1] if operation is _aten.copy_.default else args[0]
    if target and not source:
        TRAFFIC.note_copies([moved])
    if source and not target:
        TRAFFIC.waits += 1
    return target
