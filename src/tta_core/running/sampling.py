"""Chooses the sampler and the guidance of a run from a user's arguments."""

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

from numpy import ndarray
from torch import Tensor

from tta_core.errors import IncompatibleError, InputError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.native_sampler import NativeSampler
from tta_core.protocols.scheduler import Scheduler
from tta_core.running.request import Request
from tta_core.values.arguments import number, of_kind, several, shown, whole
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Schedule
from tta_core.values.typing import evolve

Shape = tuple[int, int, int]
MakeScheduler = Callable[[object, int, float | Schedule | None, Shape], Scheduler]


def sampler_of(request: Request, backbone: Backbone, shape: Shape, needed: float | Schedule | None) -> Scheduler:
    """The scheduler: the user's object unchanged, or one made for the backbone by name. `needed` is the method's eta, used if the user
    gives none.

    Raises:
        InputError: steps, times or eta are given together with an object; the number of steps differs from the number of times; the times
            do not fall, or lie outside the model's training times.
    """
    source, steps, eta = request.scheduler, request.steps, request.eta
    timesteps, sigmas = request.timesteps, request.sigmas
    options = {"steps": steps, "timesteps": timesteps, "sigmas": sigmas, "eta": eta}
    if not isinstance(source, str):
        for name, value in options.items():
            if value is not None:
                raise InputError(
                    f"{name} is {shown(value)}, but the scheduler given is an object with its own table of steps. Make the object with "
                    f"this {name}, or give the name of a scheduler."
                )
        if source is None:
            raise InputError("scheduler is None, but a run needs one. Give a name (`tta list schedulers`), or leave it out.")
        if hasattr(source, "set_timesteps"):
            raise InputError(
                f"scheduler is a {name_of(source)}, an object of diffusers, which is not a tta_core.Scheduler. Give it to the pipeline "
                "(pipeline.scheduler = ...): scheduler='native' reads the pipeline's."
            )
        of_kind("scheduler", source, Scheduler)
        return _with_table(cast(Scheduler, source), name_of(source))
    if timesteps is not None and sigmas is not None:
        raise InputError("Both timesteps and sigmas are given, but each defines the steps. Give one of them.")
    times, levels = _numbers("timesteps", timesteps), _numbers("sigmas", sigmas)
    own = times or levels
    if own and steps is not None and steps != len(own):
        raise InputError(f"steps is {steps}, but {len(own)} {'timesteps' if times else 'sigmas'} are given. Leave steps out.")
    count = len(own) if own else backbone.defaults.steps if steps is None else whole("steps", steps)
    if count < 1:
        raise InputError(f"steps is {count}, but sampling needs at least 1 step.")
    if not own and steps is None and backbone.defaults.note:
        warnings.warn(backbone.defaults.note, stacklevel=2)
    native = backbone.sampler if not own else evolve(NativeSampler.of(backbone.sampler), timesteps=times, sigmas=levels)
    trained = getattr(getattr(NativeSampler.of(backbone.sampler).scheduler, "config", None), "num_train_timesteps", None)
    if times and isinstance(trained, int) and times[0] > trained:
        raise InputError(f"timesteps begin at {times[0]:g}, but the model was trained on times up to {trained}.")
    if eta is not None:
        _by_step("eta", eta, count)
    make = cast(MakeScheduler, plugins().registry.find("schedulers", source).load())
    made = make(native, count, needed if eta is None else eta, shape)
    of_kind(f"The result of the scheduler {source!r}", made, Scheduler)
    return _with_table(made, source)


def _with_table(scheduler: Scheduler, name: str) -> Scheduler:
    """The scheduler. Raises `InputError` unless its steps are numbered in order from 0; methods find a step's noise by its number."""
    indices = [step.index for step in scheduler.steps]
    if not indices or indices != list(range(len(indices))):
        raise InputError(
            f"The steps of the scheduler {name} have the indices {shown(indices)}, but they must be 0, 1, 2 ... in sampling order. "
            "Number its steps so: tta_core.evolve(step, index=...)."
        )
    return scheduler


def guidance_of(guidance: float | int | Schedule | None, backbone: Backbone, steps: int) -> float | Schedule:
    """The guidance of a run. Every number up to 1 becomes 1, because diffusers' pipelines then evaluate the text branch alone.

    Raises:
        IncompatibleError: the guidance is above 1, but the backbone has no unconditional branch.
    """
    given = backbone.defaults.guidance if guidance is None else guidance
    weights = _by_step("guidance", given, steps)
    strongest = max(weights)
    if guidance is not None and strongest > 1 and not backbone.has_null:
        raise IncompatibleError(
            f"Cannot use guidance {strongest:g} with {name_of(backbone)}. This is because it has no unconditional branch, which guidance "
            "needs. Leave guidance out; FLUX takes flux(pipeline, true_guidance=True), or flux(pipeline, embedded_guidance=...)."
        )
    partly = next((weight for weight in weights if weight < 0 or 0 < weight < 1), None)
    if partly is not None:
        warnings.warn(
            f"guidance {partly:g} is read as no guidance, the text branch alone, as diffusers' pipelines read every number up to 1. "
            "Give a number above 1 for guidance, or 1 for none.",
            stacklevel=2,
        )
    return cast(Schedule, given) if _is_schedule(given) else max(1.0, weights[0])


def _is_schedule(value: object) -> bool:
    return isinstance(value, Schedule) and not isinstance(value, type | Tensor | ndarray)


def _by_step(name: str, value: object, steps: int) -> list[float]:
    """The values of a number or a schedule at each step. Raises `InputError` for anything else, or if the schedule returns no numbers."""
    if not _is_schedule(value):
        try:
            return [number(name, value)]
        except InputError as error:
            raise InputError(
                f"{name} is {shown(value)}, but it takes a finite number, such as 0.8, or a schedule of tta_core.values.schedules, such as "
                "Listed((1.0, 0.5)) with a number for each step."
            ) from error
    try:
        return [number(name, cast(Schedule, value)(index, steps)) for index in range(steps)]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} is {shown(value)}, which returns no number for a step: {error}. Give a number or a schedule.") from error


def _numbers(name: str, values: Sequence[float | int] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    given = several(name, values)
    if not given:
        raise InputError(f"{name} is {shown(values)}, but it takes several numbers, such as [999, 749, 499, 249].")
    numbers = tuple(number(name, value) for value in given)
    if min(numbers) < 0 or any(after >= before for before, after in pairwise(numbers)):
        raise InputError(
            f"{name} is {shown(values)}, but sampling goes from noise to the image. Give numbers that fall from step to step, none below 0."
        )
    return numbers
