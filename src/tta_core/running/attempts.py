"""Runs again with a policy that needs less memory where the device ran out of memory and a policy can choose; else explains."""

import gc
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch

from tta_core.errors import OutOfMemoryError, RunError, TTAError
from tta_core.protocols.memory import Chooser, MemoryPolicy
from tta_core.running.alignment import Alignment
from tta_core.running.out_of_memory import explained, ran_out
from tta_core.running.prepare import Prepared, prepared
from tta_core.running.request import Request
from tta_core.values.arguments import told

Policies = tuple[MemoryPolicy, ...]


@runtime_checkable
class Running(Protocol):
    """Runs what was prepared."""

    def __call__(self, prepared: Prepared, /, *, retries: int) -> Alignment:
        """Run, noting how often it was begun before."""
        ...


def attempted(request: Request, policies: Policies, running: Running) -> Alignment:
    """Prepare and run. If the device runs out of memory and a policy can choose, run again with its next choice.

    Raises:
        OutOfMemoryError: out of memory, and nothing left to choose.
    """
    retries = 0
    while True:
        following, done = leaner(policies), None
        try:
            with prepared(replace(request, memory=policies)) as made:
                try:
                    done = running(made, retries=retries)
                except Exception as error:
                    if ran_out(error) and following is None:
                        message = explained(made.setup)
                        message.partial = error.partial if isinstance(error, TTAError) else None
                        raise message from error
                    raise
            return done
        except Exception as error:
            if done is not None:
                raise _not_undone(error, done) from error
            if not ran_out(error) or (following is None and isinstance(error, OutOfMemoryError)):
                raise
            if following is None:
                raise OutOfMemoryError(_BEFORE) from error
        policies, retries = following, retries + 1
        gc.collect()  # frames and errors that hold each other keep the tensors of the attempt that failed
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _not_undone(error: Exception, done: Alignment) -> RunError:
    failure = RunError(
        f"The run was finished, but what its memory policies had changed could not be put back: {told(error)}. Load the networks anew "
        "before you use them again. The result is in this error's `partial`."
    )
    failure.partial = done
    return failure


_BEFORE = (
    "The device ran out of memory before the run began: its networks and the encoded prompts do not fit beside each other. Give the policy "
    "'offload', load the pipeline in half precision, or give fewer prompts at once."
)


def leaner(policies: Policies) -> Policies | None:
    """The policies with the next choice of the one that chooses; None if none chooses, or nothing is left to choose."""
    changed = [policy.leaner() if isinstance(policy, Chooser) else policy for policy in policies]
    known = tuple(policy for policy in changed if policy is not None)
    return known if len(known) == len(policies) and known != policies else None
