"""Warns before a run about arguments that have no effect."""

import warnings

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Method
from tta_core.protocols.scheduler import GaussianScheduler, Scheduler
from tta_core.running.request import Request
from tta_core.solving.compatibility import stds_of
from tta_core.solving.last_steps import LastSteps
from tta_core.values.arguments import shown
from tta_core.values.noise import GivenNoise
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Schedule, at_step


def warn_of_unused(
    request: Request,
    scheduler: Scheduler,
    method: Method,
    backbone: Backbone,
    guidance: float | Schedule,
    negatives: tuple[str | None, ...],
) -> None:
    """Warns about an eta that has no effect or differs from the method's own, negative prompts and null embeddings without guidance, a
    strength without an image, and given noises that the run does not use."""
    _warn_of_unused_null(any(negatives), request.null is not None, len(scheduler.steps), backbone, guidance)
    if request.image is None and request.strength != Request.strength:
        warnings.warn(
            f"strength is {request.strength:g}, but it has no effect without an image. Give `image=`, or leave strength out.", stacklevel=2
        )
    if request.latents is not None and isinstance(request.noises, GivenNoise):
        warnings.warn("latents and noises both give x_T. The run starts from latents; row 0 of noises is ignored.", stacklevel=2)
    needed = method.needs.eta
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


def _warn_of_unused_null(negative: bool, null: bool, steps: int, backbone: Backbone, guidance: float | Schedule) -> None:
    """Warns if a negative prompt or a null embedding is given that no step uses."""
    given = "negative" if negative else "null" if null else None
    if given is None:
        return
    if not backbone.has_null:
        why = f"with {name_of(backbone)}, which has no unconditional branch"
    elif all(at_step(guidance, index, steps) <= 1 for index in range(steps)):
        why = "without guidance, which begins above 1"
    elif negative and null:
        why = "beside null, which is used instead"
    else:
        return
    warnings.warn(f"{given} is given, but it has no effect {why}. Leave {given} out.", stacklevel=2)


def _renoises(scheduler: Scheduler) -> bool:
    if isinstance(scheduler, LastSteps):
        return _renoises(scheduler.scheduler)
    return isinstance(scheduler, GaussianScheduler) and scheduler.renoise
