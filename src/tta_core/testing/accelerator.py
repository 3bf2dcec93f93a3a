"""A simulated accelerator: tensors that claim another device, compute on the CPU, and refuse to mix with CPU tensors.

It shows on any machine what a GPU would: a tensor made on the wrong device, a wait for a number, a copy that need not be, and a device
whose memory is full. It does not show speed. `use_accelerator()` registers it, by torch's Python backend for "privateuseone".
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "simulated"
_aten = torch.ops.aten
_COPIES = (_aten._to_copy.default, _aten.copy_.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default)


@attrs.define
class Traffic:
    """What happened on the device.

    Attributes:
        waits: how often the host waited for a number, or for a tensor to arrive.
        copies: tensors sent to the device, their bytes in `copied`.
        allocated, peak: bytes alive now, and at most.
        limit: bytes beyond which an allocation raises `torch.OutOfMemoryError`; None: none does.
    """

    waits: int = 0
    copies: int = 0
    copied: int = 0
    allocated: int = 0
    peak: int = 0
    limit: int | None = None

    def note_allocation(self, size: int) -> None:
        """Count bytes; raises `torch.OutOfMemoryError` beyond the limit."""
        if self.limit is not None and self.allocated + size > self.limit:
            raise torch.OutOfMemoryError(f"{NAME}: {size} bytes asked, {self.allocated} of {self.limit} are taken")
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def note_release(self, size: int) -> None:
        """Bytes that nobody holds any more."""
        self.allocated -= size


TRAFFIC = Traffic()


@contextmanager
def counted() -> Iterator[Traffic]:
    """What happens inside, from zero; afterwards the counts of before go on. Bytes alive go on counting."""
    before = attrs.evolve(TRAFFIC)
    TRAFFIC.waits = TRAFFIC.copies = TRAFFIC.copied = 0
    TRAFFIC.peak = TRAFFIC.allocated
    inside = TRAFFIC
    try:
        yield inside
    finally:
        TRAFFIC.waits, TRAFFIC.copies, TRAFFIC.copied = before.waits, before.copies, before.copied


@contextmanager
def limited(size: int) -> Iterator[None]:
    """The device has so many bytes for what is alive now and what is made inside."""
    before, TRAFFIC.limit = TRAFFIC.limit, size
    try:
        yield
    finally:
        TRAFFIC.limit = before


@cache
def use_accelerator() -> torch.device:
    """Registers the device, once a process, and gives it. From then on the process computes on one thread: another one would wait for
    Python's lock, which is held while the device computes."""
    torch.set_num_threads(1)
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    torch._C._set_only_lift_cpu_tensors(True)
    torch.autograd.set_multithreading_enabled(False)  # a device's own thread cannot make tensors of Python numbers here
    _LIBRARIES.append(torch.library.Library("_", "IMPL"))
    _LIBRARIES[0].fallback(lambda operation, *args, **kwargs: _run(operation, args, kwargs or {}), "PrivateUse1")
    return torch.device(NAME, 0)


_LIBRARIES: list[torch.library.Library] = []  # a library's kernels go with it


class _Module(_DummyBackendModule):
    """What torch asks of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        """Nothing: whatever draws on this device draws on the CPU."""

    def device(self, device: object) -> Any:
        return torch.device(NAME, 0)

    def synchronize(self, device: object = None) -> None:
        TRAFFIC.waits += 1

    def empty_cache(self) -> None:
        """Nothing is kept."""


class Remote(Tensor):
    """A tensor on the simulated device. Its numbers hang on its storage, so that `parameter.data = other` moves them too."""

    @staticmethod
    def __new__(cls, data: Tensor) -> "Remote":
        """A tensor on the device with these numbers."""
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
        """Its numbers, for which the device is waited for."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Run on the CPU what was asked for."""
        return _run(operation, args, kwargs or {})


def _numbers(tensor: Tensor) -> Tensor:
    return tensor.untyped_storage().numbers  # type: ignore[attr-defined]


def _allocated(data: Tensor) -> None:
    """Count a storage the first time it is seen."""
    storage: Any = data.untyped_storage()
    if not hasattr(storage, "counted"):
        size = storage.nbytes()
        TRAFFIC.note_allocation(size)
        storage.counted = weakref.finalize(storage, TRAFFIC.note_release, size)


def _is_remote(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _run(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    remote, device = [tensor for tensor in tensors if isinstance(tensor, Remote)], kwargs.get("device")
    if operation is _aten._local_scalar_dense.default:
        TRAFFIC.waits += 1
    if operation in _COPIES:
        stays = _copied(operation, args, device)
    else:
        stays = bool(remote) or _is_remote(device)
        strangers = [tuple(tensor.shape) for tensor in tensors if not isinstance(tensor, Remote) and tensor.dim() > 0]
        if remote and strangers:
            raise RuntimeError(f"Expected all tensors to be on the same device: {operation} mixes {NAME} and cpu {strangers}")
    if _is_remote(device):
        kwargs = {**kwargs, "device": "cpu"}
    if operation is not _aten.copy_.default:
        kwargs.pop("non_blocking", None)
    given, named = pytree.tree_map(_here, (args, kwargs))
    output = operation(*given, **named)
    known = {id(_numbers(tensor)): tensor for tensor in remote}
    return pytree.tree_map(lambda leaf: _there(leaf, known) if stays else leaf, output)


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
    """Count what a copy sends or fetches; whether its result is on the device."""
    if operation is _aten.copy_.default:
        target, source = (isinstance(tensor, Remote) for tensor in args[:2])
    else:
        source = isinstance(args[0], Remote)
        target = source if device is None else _is_remote(device)
    moved = args[1] if operation is _aten.copy_.default else args[0]
    if target and not source:
        TRAFFIC.copies += 1
        TRAFFIC.copied += moved.numel() * moved.element_size()
    if source and not target:
        TRAFFIC.waits += 1
    return target
