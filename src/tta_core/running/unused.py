"""Warns before a run about arguments that have no effect."""

import warnings

from tta_core.protocols.method import Method
from tta_core.protocols.scheduler import GaussianScheduler, Scheduler
from tta_core.running.request import Request
from tta_core.solving.compatibility import stds_of
from tta_core.solving.last_steps import LastSteps
from tta_core.values.arguments import shown
from tta_core.values.noise import GivenNoise
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Schedule


def warn_of_unused(request: Request, scheduler: Scheduler, method: Method, guidance: float | Schedule) -> None:
    """Warns about an eta that has no effect or differs from the method's own, and about a negative prompt, a strength and given noises that
    are not used."""
    needed = method.needs.eta
    if guidance == 1 and request.negative not in (None, ""):
        warnings.warn(
            f"negative is {shown(request.negative)}, but it has no effect without guidance. Give guidance above 1, or leave it out.",
            stacklevel=2,
        )
    if request.image is None and request.strength != Request.strength:
        warnings.warn(f"strength is {shown(request.strength)}, but it has no effect without an image. Leave it out.", stacklevel=2)
    if request.eta is not None and _renoises(scheduler):
        warnings.warn(
            f"eta is {shown(request.eta)}, but it has no effect on this sampler (LCM), which adds new noise to the clean estimate at "
            "every step. Leave eta out.",
            stacklevel=2,
        )
    elif request.eta is not None and needed is not None and request.eta != needed:
        warnings.warn(
            f"eta is {request.eta}, but {name_of(method)} was designed for eta {needed}. The run uses {request.eta}, so each step adds "
            "another amount of noise. Leave eta out to use the method's.",
            stacklevel=2,
        )
    if not isinstance(request.noises, GivenNoise):
        return
    stds, given = stds_of(scheduler), len(request.noises.rows)
    if stds and not any(stds) and given > 1:
        warnings.warn(
            f"{given} rows of noise are given, but the sampler is deterministic: it uses the first and ignores the others. "
            "Give one row, or an eta above 0.",
            stacklevel=2,
        )
    elif given > len(scheduler.steps) + 1:
        warnings.warn(
            f"{given} rows of noise are given, but a run of {len(scheduler.steps)} steps uses {len(scheduler.steps) + 1}. The last rows "
            "are ignored.",
            stacklevel=2,
        )


def _renoises(scheduler: Scheduler) -> bool:
    if isinstance(scheduler, LastSteps):
        return _renoises(scheduler.scheduler)
    return isinstance(scheduler, GaussianScheduler) and scheduler.renoise
