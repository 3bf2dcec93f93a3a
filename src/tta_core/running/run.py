"""Runs a prepared problem: tells observers, runs a failed batch again in halves, and raises what failed."""

import warnings
from functools import partial

from tta_core.running.alignment import Alignment
from tta_core.running.halves import run_in_halves
from tta_core.running.prepare import Prepared
from tta_core.running.run_once import run_once
from tta_core.running.watchers import Watchers, check_observers
from tta_core.values.typing import evolve


def run(prepared: Prepared, *, retries: int = 0) -> Alignment:
    """Run a prepared problem, with its baseline from the same noise. `retries` goes into the ledger.

    Raises:
        TTAError: what stopped the run; from the first snapshot on its `partial` is the `Alignment` with the best so far. Of several
            prompts, those that did not fail are in it with their finished results.
        RunError: the method, or the backbone under it, raised anything else, or yielded what is no snapshot.
    """
    check_observers(prepared.request.observers)
    watchers = Watchers(prepared.request.observers)
    ledger = prepared.problem.ledger.fresh()
    ledger.retries = retries
    ended = run_in_halves(prepared, partial(run_once, watchers=watchers, ledger=ledger), ledger)
    alignment, failure = ended.alignment, ended.error
    remarks = () if alignment is None else tuple(alignment.manifest["remarks"])  # before plugins are handed it
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
            del ended, failure  # a frame that holds its own error would keep the run's tensors alive
    assert alignment is not None
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    return alignment
