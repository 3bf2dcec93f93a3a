"""Refuses parts that cannot work together, before the first step, with the reason and a remedy."""

from collections.abc import Sequence

from tta_core.errors import IncompatibleError
from tta_core.protocols.backbone import SteersAttention
from tta_core.protocols.method import Needs
from tta_core.protocols.scheduler import GaussianScheduler, Scheduler
from tta_core.protocols.variables import ControllableVariable
from tta_core.solving.last_steps import LastSteps
from tta_core.solving.parts import Parts
from tta_core.solving.trial import try_reward
from tta_core.values.provenance import name_of
from tta_core.values.schedules import at_step
from tta_core.values.trajectory import Step


def refuse(problem: Parts, needs: Needs) -> None:
    """Raises `IncompatibleError` if the problem's parts do not meet a method's needs."""
    if needs.variable is not None:
        _refuse_variable(problem, needs.variable)
    if needs.betas:
        _refuse_betas(problem.scheduler.steps)
    _refuse_deterministic_steps(problem.scheduler, needs)
    if needs.image and problem.origin is None:
        raise IncompatibleError(
            "Cannot use this method without an image. This is because it edits one, but the run starts from noise. Give `image=`, or use "
            "a method that samples from noise."
        )
    if needs.attention and not (isinstance(problem.backbone, SteersAttention) and problem.backbone.steers_attention):
        raise IncompatibleError(
            f"Cannot use a method that changes cross-attention with {name_of(problem.backbone)}. This is because its denoiser has no "
            "cross-attention layers that the backbone can change. Use a Stable Diffusion 1, 2 or XL pipeline, or another method."
        )
    if not problem.tried:
        try_reward(problem, needs.gradient)


def _refuse_variable(problem: Parts, variable: ControllableVariable) -> None:
    if variable.needs_null and not problem.backbone.has_null:
        raise IncompatibleError(
            f"Cannot use {variable} with {name_of(problem.backbone)}. This is because the variable steers the null embedding of "
            "classifier-free guidance, but the backbone has none. Steer TextEmbedding() or Noise()."
        )
    unguided = _unguided(problem) if variable.needs_null else None
    if unguided is not None:
        guidance = at_step(problem.guidance, unguided, len(problem.scheduler.steps))
        raise IncompatibleError(
            f"Cannot use {variable} with guidance {guidance:g}, as it is at step {unguided}. This is because up to 1 there is no guidance, "
            "and the output does not depend on the null embedding. Use a guidance above 1 at every step, or steer TextEmbedding() or "
            "Noise()."
        )
    value = variable.read(problem.controls)
    before, after = problem.controls.by_step, variable.write(problem.controls, value).by_step
    if any(after[i].text is not before[i].text or after[i].null is not before[i].null for i in before):
        raise IncompatibleError(
            f"Cannot use {variable} with embeddings that differ from step to step. This is because the method steers one value for all "
            "steps, which would replace them. Steer another variable, or give one embedding."
        )


def _refuse_betas(steps: Sequence[Step]) -> None:
    if any(step.alpha is None for step in steps):
        raise IncompatibleError(
            "Cannot use kernel='training' with this sampler. This is because flow-matching models have no betas, but the kernel "
            "is computed from them. Use kernel='sampler'."
        )
    zero = next((step.index for step in steps if step.alpha is not None and step.alpha <= 0), None)
    if zero is not None:
        raise IncompatibleError(
            f"Cannot use kernel='training' with this sampler. This is because alpha is 0 at step {zero} (betas rescaled to a terminal SNR "
            "of zero), and the kernel divides by it. Use kernel='sampler'."
        )


def _refuse_deterministic_steps(scheduler: Scheduler, needs: Needs) -> None:
    """Raises for steps without noise if the method needs noise there."""
    stds = stds_of(scheduler)
    deterministic = next((index for index, std in enumerate(stds[:-1]) if std == 0), None)
    if needs.stochastic and deterministic is not None:
        raise IncompatibleError(
            f"Cannot use this method with a sampler whose step {deterministic} adds no noise (std 0). This is because the method compares "
            "or weights transitions, and a step without noise has only one outcome. Use a stochastic sampler (eta > 0), or a setting that "
            "needs no transition (kernel='training' of null-tta)."
        )
    if needs.children and stds and not any(stds):
        raise IncompatibleError(
            "Cannot use several particles with this sampler. This is because no step adds noise (std 0), so all children of a step are "
            "equal. Use particles=1, or a stochastic sampler (eta > 0) of several steps."
        )


def _unguided(problem: Parts) -> int | None:
    """The first step without guidance."""
    total = len(problem.scheduler.steps)
    return next((index for index in range(total) if at_step(problem.guidance, index, total) <= 1), None)


def stds_of(scheduler: Scheduler) -> list[float]:
    """The standard deviation of each step's transition; an empty list for samplers that are not a `GaussianScheduler`."""
    if isinstance(scheduler, LastSteps):
        return stds_of(scheduler.scheduler)[-scheduler.count :]
    return [scheduler.std(step) for step in scheduler.steps] if isinstance(scheduler, GaussianScheduler) else []
