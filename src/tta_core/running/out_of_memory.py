"""What happens when a device runs out of memory: another choice of policies where one was asked for, else one clear message."""

import gc
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch

from tta_core.errors import OutOfMemoryError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.memory import Chooser, MemoryPolicy, Setup
from tta_core.running.alignment import Alignment
from tta_core.running.prepare import Prepared, prepared
from tta_core.running.request import Request

Policies = tuple[MemoryPolicy, ...]


@runtime_checkable
class Running(Protocol):
    """Runs what was prepared."""

    def __call__(self, prepared: Prepared, /, *, retries: int) -> Alignment:
        """Run, noting how often it was begun before."""
        ...


def attempted(request: Request, policies: Policies, running: Running) -> Alignment:
    """Prepare and run; where the device runs out of memory and a policy chooses, again with its next choice.

    Raises:
        OutOfMemoryError: out of memory, and nothing left to choose.
    """
    retries = 0
    while True:
        following = leaner(policies)
        try:
            with prepared(replace(request, memory=policies)) as made:
                try:
                    return running(made, retries=retries)
                except Exception as error:
                    if ran_out(error) and following is None:
                        message = explained(made.setup)
                        message.partial = error.partial if isinstance(error, TTAError) else None
                        raise message from error
                    raise
        except OutOfMemoryError:
            raise
        except Exception as error:
            if not ran_out(error):
                raise
            if following is None:
                raise OutOfMemoryError(_BEFORE) from error
        policies, retries = following, retries + 1
        gc.collect()  # frames and errors that hold each other keep the tensors of the attempt that failed
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


_BEFORE = (
    "The device ran out of memory before the run began: its networks and the encoded prompts do not fit beside each other. Give the policy "
    "'offload', load the pipeline in half precision, or give fewer prompts at once."
)


def ran_out(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is the device running out of memory."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__
    return False


def leaner(policies: Policies) -> Policies | None:
    """The policies with the next choice of the one that chooses; None if none chooses, or nothing is left to choose."""
    changed = [policy.leaner() if isinstance(policy, Chooser) else policy for policy in policies]
    known = tuple(policy for policy in changed if policy is not None)
    return known if len(known) == len(policies) and known != policies else None


def explained(setup: Setup) -> OutOfMemoryError:
    """The error of a run that ran out of memory."""
    chooser = plugins().registry.create("memory", "auto")
    advice = chooser.advice(setup) if isinstance(chooser, Chooser) else "Give memory policies (`tta list memory`) or fewer prompts at once."
    return OutOfMemoryError(f"{setup.backbone.device} ran out of memory. {advice}")
