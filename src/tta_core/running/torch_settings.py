"""Resets torch's global settings during a run, so that results depend on the arguments alone."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from tta_core.errors import InputError

_lock = threading.Lock()
_dtypes: list[torch.dtype] = []  # the default dtype before each of the runs that are open


@contextmanager
def plain_torch() -> Iterator[None]:
    """Sets the default device to the CPU and the default dtype to float32, and switches autocast off; restores all three at the end.

    The default dtype is one setting of the whole process: while runs overlap it stays float32, and the last one to end restores it. The
    precision of matrix multiplication, deterministic algorithms and the number of threads are not changed: they only affect rounding.

    Raises:
        InputError: it is called under `torch.inference_mode()`, whose tensors cannot have gradients, or in a transform of `torch.func`.
    """
    if torch.is_inference_mode_enabled():
        raise InputError(
            "Cannot align under torch.inference_mode(). This is because its tensors cannot have gradients. Use torch.no_grad()."
        )
    try:
        torch.empty(0, device="cpu").requires_grad_()
    except RuntimeError as error:
        raise InputError(
            "Cannot align inside a function that torch transforms (torch.func.vmap, grad ...). This is because a run computes gradients of "
            f"its own: {error} Call it outside of the transform."
        ) from error
    with ExitStack() as stack:
        stack.enter_context(_float32())
        if torch.get_default_device().type != "cpu":  # the context slows every torch call by microseconds
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def _float32() -> Iterator[None]:
    with _lock:
        _dtypes.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _lock:
            first = _dtypes[0]
            _dtypes.pop()
            if not _dtypes:
                torch.set_default_dtype(first)
