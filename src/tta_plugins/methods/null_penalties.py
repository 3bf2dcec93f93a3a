"""The two penalties of Null-TTA: the divergence of transitions, and the distance of the steered embedding from the original.

Notation (name -> paper): step.alpha -> alpha_t, reference -> the prediction at the unsteered phi, s -> guidance.
"""

from typing import Literal, cast

import torch

from tta_core import Prediction, Problem, Step
from tta_core.errors import IncompatibleError
from tta_core.solving import steering
from tta_core.values.schedules import Schedule
from tta_core.values.transition import as_batch
from tta_core.values.typing import Scores

Kernel = Literal["training", "sampler"]


def divergence(prediction: Prediction, reference: Prediction, step: Step, kernel: Kernel) -> Scores:
    """The divergence of a step's transition from the reference, per sample; rows `(k b)`.

    "sampler": the KL of the sampler's own transitions, in nats; 0 at a step without noise, where it is undefined. "training": the KL of one
    training step, beta / (2 alpha (1 - abar)) ||e~' - e~||^2. Source: Null-TTA (arXiv 2511.20889) eq. 9 and 10.
    """
    rows = prediction.x0.shape[0]
    if kernel == "sampler":
        deterministic = prediction.transition.std == 0
        return prediction.x0.new_zeros(rows) if deterministic else prediction.transition.kl(reference.transition.repeated(rows))
    alpha = cast(float, step.alpha)
    coefficient = (1 - alpha) / (2 * alpha * (step.s**2 / (step.a**2 + step.s**2)))
    return coefficient * (prediction.eps - as_batch(reference.eps, rows)).square().flatten(1).sum(1)


def released_factor(problem: Problem) -> float:
    """s^2 / (s - 1)^2, the factor by which the authors' penalty exceeds the exact one with guidance s. Raises `IncompatibleError` unless
    guidance is one number above 1."""
    guidance = problem.guidance
    if isinstance(guidance, Schedule) or guidance == 1:
        raise IncompatibleError(
            f"Cannot use guidance_factor='released' with guidance {guidance}. This is because it multiplies the penalty by "
            "s^2 / (s - 1)^2, which needs one number s above 1. Use guidance_factor='exact', or one guidance above 1 for all steps."
        )
    return (guidance / (guidance - 1)) ** 2


def prior(moved: steering.Tensors, variance: float, pooled_variance: float | None) -> Scores:
    """sum ||phi' - phi||^2 / (2 sigma^2) per sample: a pooled vector has two dimensions, tokens three and noises five."""
    variances = [pooled_variance if tensor.dim() == 2 and pooled_variance else variance for tensor in moved]
    priors = [steering.norm_square((tensor,)) / (2 * each) for tensor, each in zip(moved, variances, strict=True)]
    return torch.stack(priors).sum(0)
