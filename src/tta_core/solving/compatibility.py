"""What cannot work together: found before the first step, and refused with the reason and a remedy."""

import torch

from tta_core.errors import IncompatibleError
from tta_core.protocols.method import Needs
from tta_core.protocols.reward import Reward, card_of
from tta_core.protocols.scheduler import GaussianScheduler, Scheduler
from tta_core.solving.from_image import LastSteps
from tta_core.solving.parts import Parts
from tta_core.solving.scoring import checked
from tta_core.values.provenance import name_of


def refuse(problem: Parts, needs: Needs) -> None:
    """Raises `IncompatibleError` if the problem's parts do not give what a method needs."""
    variable = needs.variable
    if variable is not None:
        if variable.needs_null and not problem.backbone.has_null:
            raise IncompatibleError(
                f"Cannot use {variable} with {name_of(problem.backbone)}. This is because the variable steers the null embedding of "
                "classifier-free guidance, but the backbone has none. Steer TextEmbedding() or Noise()."
            )
        if variable.needs_null and problem.guidance == 1:
            raise IncompatibleError(
                f"Cannot use {variable} with guidance 1. This is because null + guidance * (text - null) does not depend on the null "
                "embedding there. Use a guidance above 1, or steer TextEmbedding() or Noise()."
            )
        variable.read(problem.controls)
    if needs.betas and any(step.alpha is None for step in problem.scheduler.steps):
        raise IncompatibleError(
            "Cannot use kernel='training' with this sampler. This is because flow matching was trained without betas, but the kernel "
            "is made of them. Use kernel='sampler'."
        )
    flat = (
        next((step.index for step in problem.scheduler.steps if step.alpha is not None and step.alpha <= 0), None) if needs.betas else None
    )
    if flat is not None:
        raise IncompatibleError(
            f"Cannot use kernel='training' with this sampler. This is because alpha is 0 at step {flat} (betas rescaled to a terminal SNR "
            "of zero), and the kernel divides by it. Use kernel='sampler'."
        )
    stds = _stds(problem.scheduler)
    if needs.stochastic:
        still = next((index for index, std in enumerate(stds[:-1]) if std == 0), None)
        if still is not None:
            raise IncompatibleError(
                f"Cannot use a KL divergence of transitions with this sampler. This is because step {still} draws no noise (std 0), "
                "and the KL of two point masses is infinite or 0. Use a stochastic sampler (eta > 0), or a penalty that needs no "
                "transition (kernel='training')."
            )
    if needs.children and stds and not any(stds):
        raise IncompatibleError(
            "Cannot use several particles with this sampler. This is because no step draws noise (std 0), so the children of a step are "
            "all equal and none is better. Use particles=1, or a stochastic sampler (eta > 0) of several steps."
        )
    if needs.gradient and not _is_differentiable(problem):
        raise not_differentiable(problem.reward)


def not_differentiable(reward: Reward) -> IncompatibleError:
    """The refusal of a reward whose gradient is asked for and does not exist."""
    return IncompatibleError(
        f"Cannot use {name_of(reward)} with a method that follows its gradient. This is because the scores do not depend differentiably on "
        "the images (no_grad, numpy, rounding or 8-bit pictures inside it). Use an estimator without gradients (estimator=ZerothOrder() or "
        "Hybrid2() on date, null-tta or dno), or best-of-n; or write the reward in torch operations on the images."
    )


def _stds(scheduler: Scheduler) -> list[float]:
    """The standard deviation of each step's transition, where the table tells; else nothing."""
    if isinstance(scheduler, LastSteps):
        return _stds(scheduler.scheduler)[-scheduler.count :]
    return [scheduler.std(step) for step in scheduler.steps] if isinstance(scheduler, GaussianScheduler) else []


def _is_differentiable(problem: Parts) -> bool:
    """As the card says; where it does not, by one trial on a decoded picture."""
    declared = card_of(problem.reward).differentiable
    if declared is not None:
        return declared
    with torch.no_grad():
        image = problem.backbone.decode(torch.zeros_like(problem.controls.noise[0, :1])).clamp(0, 1)
    with torch.enable_grad():
        return checked(problem.reward, image.detach().requires_grad_(), problem.prompts[:1]).requires_grad
