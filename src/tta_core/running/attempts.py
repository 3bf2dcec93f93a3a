"""If the device runs out of memory, runs again with a memory policy that needs less, or raises an error with advice."""

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
from tta_core.values.arguments import error_text

Policies = tuple[MemoryPolicy, ...]


@runtime_checkable
class Running(Protocol):
    """Runs a prepared problem."""

    def __call__(self, prepared: Prepared, /, *, retries: int) -> Alignment:
        """Run. `retries` is the number of earlier attempts, for the ledger."""
        ...


def attempted(request: Request, policies: Policies, running: Running) -> Alignment:
    """Prepare and run. If the device runs out of memory and a policy is a `Chooser`, run again with its next choice.

    Raises:
        OutOfMemoryError: the device ran out of memory, and there is no other choice.
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
        gc.collect()  # the failed attempt's tensors are held by a cycle of frames and errors
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _not_undone(error: Exception, done: Alignment) -> RunError:
    failure = RunError(
        f"The run was finished, but the changes of its memory policies could not be undone: {error_text(error)}. Load the networks again "
        "before you use them. The result is in this error's `partial`."
    )
    failure.partial = done
    return failure


_BEFORE = (
    "The device ran out of memory before the run began: the networks and the encoded prompts together do not fit. Give the policy "
    "'offload', load the pipeline in half precision, or give fewer prompts at once."
)


def leaner(policies: Policies) -> Policies | None:
    """The policies with the next choice of each `Chooser`; None if there is no `Chooser`, or no next choice."""
    changed = [policy.leaner() if isinstance(policy, Chooser) else policy for policy in policies]
    chosen = tuple(policy for policy in changed if policy is not None)
    return chosen if len(chosen) == len(policies) and chosen != policies else None
