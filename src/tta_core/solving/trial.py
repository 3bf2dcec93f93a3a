"""Calls the reward on decoded images before the first step, to detect missing gradients, wrong shapes and random scores."""

import inspect
import warnings

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from tta_core.errors import IncompatibleError, InputError, RewardError
from tta_core.protocols.reward import Reward, card_of, networks_of
from tta_core.solving.decoding_errors import not_finite_images
from tta_core.solving.parts import Parts
from tta_core.solving.scoring import checked, require_facts
from tta_core.values.provenance import describe, name_of
from tta_core.values.typing import Scores

MAX_SINGLE_FAILURES = 4  # if so many prompts fail one by one and none succeeds, the failure does not depend on the prompt
_SCALE = 1024.0  # keeps gradients above the smallest half-precision number


def try_reward(problem: Parts, gradient: bool) -> None:
    """Score one decoded image twice, and differentiate the score if a method needs it. A reward whose card says that it is not
    differentiable is not called, because it may be slow or may need a person; if a gradient is needed, it is refused. If the reward raises
    for the first prompt, the next ones are tried.

    Raises:
        InputError: a prompt lacks a fact that the reward needs.
        RewardError: the reward raised, or returned no valid scores, for each prompt that was tried.
        IncompatibleError: a gradient is needed, and the scores do not depend on the images differentiably.

    Warns:
        UserWarning: two scores for one image; a gradient that is zero in every pixel; a network in train mode that is not declared.
    """
    reward = problem.reward
    require_facts(reward, problem.prompts)
    declared = card_of(reward).differentiable
    if declared is False:
        if gradient:
            raise not_differentiable(reward)
        return
    _warn_of_train_mode(reward)
    if any(isinstance(tensor, FakeTensor) for network in problem.backbone.networks.values() for tensor in network.parameters()):
        return  # a forecast runs on fake tensors, which have shapes but no numbers
    prompts = problem.prompts[:MAX_SINGLE_FAILURES]
    for place, prompt in enumerate(prompts):
        try:
            _try_with(prompt, problem, gradient)
            break
        except RewardError:
            if place + 1 == len(prompts):
                raise


def _try_with(prompt: str, problem: Parts, gradient: bool) -> None:
    reward = problem.reward
    noise = problem.controls.noise[0, :1]
    zeros = torch.zeros_like(noise)
    first, slope = _scored(problem, zeros, prompt, gradient)
    if gradient and slope is None:
        raise not_differentiable(reward)
    second, _ = _scored(problem, zeros, prompt, gradient=False)
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-6):
        warnings.warn(
            f"{describe(reward)} gave one image two scores, {first.item():.6g} and {second.item():.6g}: it is random, or keeps state "
            "between calls. The result depends partly on chance. Fix its seed, put its networks in eval mode, or declare them in "
            "`networks`.",
            stacklevel=2,
        )
    if slope is not None and not slope.any() and not _has_gradient(problem, noise, prompt):
        warnings.warn(
            f"The gradient of {describe(reward)} is exactly zero in every pixel of two trial images. The reward rounds, uses a threshold, "
            "or is saturated. A method that follows this gradient changes nothing. Use estimator=ZerothOrder(), or best-of-n.",
            stacklevel=2,
        )


def not_differentiable(reward: Reward) -> IncompatibleError:
    """The error for a reward whose gradient is needed but does not exist."""
    return IncompatibleError(
        f"Cannot use {name_of(reward)} with a method that follows its gradient. This is because the scores do not depend differentiably on "
        "the images (no_grad, detach, numpy or 8-bit images inside it). Use an estimator without gradients (estimator=ZerothOrder() or "
        "Hybrid2() on date, null-tta or dno), or best-of-n; or write the reward in torch operations on the images."
    )


def _scored(problem: Parts, x0: Tensor, prompt: str, gradient: bool) -> tuple[Scores, Tensor | None]:
    """The score of one decoded image, and its gradient by the image; None if the score does not depend on the image differentiably."""
    with torch.no_grad():
        images = problem.backbone.decode(x0).clamp(0, 1)
    if not images.is_floating_point():
        raise InputError(f"{describe(problem.backbone)} decoded {images.dtype} images. Return floats, RGB from 0 to 1.")
    if not images.isfinite().all():
        raise not_finite_images(problem.backbone)
    with torch.set_grad_enabled(gradient):
        images = images.detach().requires_grad_(gradient)
        scores = checked(problem.reward, images, (prompt,))
        if not (gradient and scores.requires_grad):
            return scores.detach(), None
        (slope,) = torch.autograd.grad(scores.sum() * _SCALE, images, allow_unused=True)
    return scores.detach(), slope


def _has_gradient(problem: Parts, x0: Tensor, prompt: str) -> bool:
    slope = _scored(problem, x0, prompt, gradient=True)[1]
    return slope is not None and bool(slope.any())


def _warn_of_train_mode(reward: Reward) -> None:
    known = {id(part) for network in networks_of(reward).values() for part in network.modules()}
    for network in _networks_in(reward):
        if any(id(part) not in known and _depends_on_train_mode(part) for part in network.modules()):
            warnings.warn(
                f"{describe(reward)} uses a {type(network).__name__} in train mode, whose dropout or batch statistics change the scores. "
                "Call eval() on it, or declare it in the reward's `networks`.",
                stacklevel=3,
            )
            return


def _networks_in(reward: Reward) -> list[nn.Module]:
    """Networks that a function refers to, or that an object has as attributes."""
    if inspect.isfunction(reward):
        names = inspect.getclosurevars(reward)
        held = [*names.nonlocals.values(), *names.globals.values()]
    else:
        held = list(getattr(reward, "__dict__", {}).values())
    return [thing for thing in held if isinstance(thing, nn.Module)]


def _depends_on_train_mode(part: nn.Module) -> bool:
    dropout = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
    return part.training and (dropout or isinstance(part, nn.modules.batchnorm._BatchNorm))
