"""Recognises out-of-memory errors of a device, and adds advice to them."""

import torch

from tta_core.errors import OutOfMemoryError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.memory import Chooser, Setup


def ran_out(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is an out-of-memory error of the device."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__
    return False


def explained(setup: Setup) -> OutOfMemoryError:
    """The error of a run that ran out of memory, with advice for this setup."""
    chooser = plugins().registry.create("memory", "auto")
    advice = chooser.advice(setup) if isinstance(chooser, Chooser) else "Give memory policies (`tta list memory`) or fewer prompts at once."
    return OutOfMemoryError(f"{setup.backbone.device} ran out of memory. {advice}")
