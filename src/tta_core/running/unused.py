"""Warns before a run about arguments that can have no effect."""

import warnings

from tta_core.protocols.method import Method
from tta_core.protocols.scheduler import Scheduler
from tta_core.running.request import Request
from tta_core.solving.compatibility import stds_of
from tta_core.values.noise import GivenNoise
from tta_core.values.provenance import name_of


def warn_of_unused(request: Request, scheduler: Scheduler, method: Method) -> None:
    """Warns about an eta that differs from the method's own, and about given noises that the sampler does not use."""
    wanted = method.needs.eta
    if request.eta is not None and wanted is not None and request.eta != wanted:
        warnings.warn(
            f"eta is {request.eta}, but {name_of(method)} is written for {wanted}, which draws other noise at each step. The run takes "
            f"{request.eta}. Leave eta out to have the method's.",
            stacklevel=2,
        )
    if not isinstance(request.noises, GivenNoise):
        return
    stds, given = stds_of(scheduler), len(request.noises.rows)
    if stds and not any(stds) and given > 1:
        warnings.warn(
            f"{given} rows of noise are given, but the sampler is deterministic: it starts from the first and does not use the others. "
            "Give one row, or an eta above 0.",
            stacklevel=2,
        )
    elif given > len(scheduler.steps) + 1:
        warnings.warn(
            f"{given} rows of noise are given, but a run of {len(scheduler.steps)} steps takes {len(scheduler.steps) + 1}: the last are "
            "not used.",
            stacklevel=2,
        )
