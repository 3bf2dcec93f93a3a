"""Runs a prepared problem: calls observers, runs a failed batch again in halves, and raises the error that stopped the run."""

import warnings
from functools import partial

from tta_core.errors import InputError
from tta_core.running.alignment import Alignment
from tta_core.running.halves import run_in_halves
from tta_core.running.prepare import Prepared
from tta_core.running.run_once import run_once
from tta_core.running.torch_settings import plain_torch
from tta_core.running.watchers import Watchers, check_observers
from tta_core.values.typing import evolve


def run(prepared: Prepared, *, retries: int = 0) -> Alignment:
    """Run a prepared problem, with its baseline from the same noise. `retries`, the number of earlier attempts, goes into the ledger.

    Raises:
        TTAError: the error that stopped the run. After the first snapshot, its `partial` is the `Alignment` with the best results so far;
            if some of several prompts failed, it has the finished results of the others.
        InputError: the context that made the problem has ended, or it is called under `torch.inference_mode()`.
        RunError: the method or the backbone raised another exception, or the method yielded something that is not a snapshot.
    """
    with plain_torch():
        return _run(prepared, retries)


def _run(prepared: Prepared, retries: int) -> Alignment:
    if prepared.ended.is_set():
        raise InputError(
            "Cannot run this problem: the context of tta_core.prepare that made it has ended, so its memory policies were undone. Call "
            "tta_core.run inside the context."
        )
    check_observers(prepared.request.observers)
    watchers = Watchers(prepared.request.observers)
    ledger = prepared.problem.ledger.fresh()
    ledger.retries = retries
    ended = run_in_halves(prepared, partial(run_once, watchers=watchers, ledger=ledger), ledger)
    alignment, failure = ended.alignment, ended.error
    remarks = (
        () if alignment is None else tuple(alignment.manifest["remarks"])
    )  # read before plugins get the alignment, which they could change
    if alignment is not None:
        try:
            watchers.finished(alignment)
        except KeyboardInterrupt:
            why = alignment.stopped or "interrupted after the result, while plugins were being called"
            alignment = evolve(alignment, stopped=why, interrupted=True)
    if failure is not None:
        failure.partial = alignment
        try:
            raise failure
        finally:
            del ended, failure  # a cycle of this frame and the error would keep the run's tensors in memory
    assert alignment is not None
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    return alignment
