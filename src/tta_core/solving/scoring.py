"""Calls a reward and refuses, by name, anything but one finite float score per image."""

import traceback
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from tta_core.errors import InputError, RewardError
from tta_core.protocols.reward import Mixed, Reward, card_of, networks_of
from tta_core.solving.checks import Checks, broken_weights
from tta_core.values.arguments import error_text
from tta_core.values.prompts import facts_of
from tta_core.values.provenance import describe
from tta_core.values.typing import Scores


def checked(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Scores:
    """The scores of `scored` without a mixture's parts. Raises the same errors."""
    return scored(reward, images, prompts)[0]


def scored(reward: Reward, images: Tensor, prompts: Sequence[str], checks: Checks | None = None) -> tuple[Scores, Mapping[str, Scores]]:
    """Call a reward and refuse anything but one finite float score per image. Also returns a mixture's parts.

    Raises:
        InputError: there are not as many prompts as images.
        RewardError: it raised, returned no tensor, a wrong shape, an integer dtype or a NaN; the message names the reward, its
            package, the value and the remedy. Nothing is replaced by zero and no row is dropped.
    """
    if len(prompts) != images.shape[0]:
        who = describe(reward)
        raise InputError(f"{who} was given {images.shape[0]} images and {len(prompts)} prompts. Give one prompt for each image.")
    parts: Mapping[str, Scores] = {}
    images = images.clone()  # a reward may change its images in place; here it changes this copy
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled()):  # restores the gradient mode if the reward changes it
            if isinstance(reward, Mixed):
                parts = reward.parts(images, prompts)
                scores = reward.mixed(parts)
            else:
                scores = reward(images, prompts)
    except (RewardError, KeyboardInterrupt):
        raise
    except BaseException as error:
        ran_out = isinstance(error, MemoryError | torch.OutOfMemoryError)
        remedy = " Give it fewer images at once (memory=Chunked(reward=1)), or a smaller network." if ran_out else ""
        raise RewardError(
            f"{describe(reward)} raised {error_text(error)}. It was given images {tuple(images.shape)} in [0, 1] and "
            f"{len(prompts)} prompts; it happened in {_place(error, reward)}.{remedy}"
        ) from error
    if not isinstance(scores, Tensor) or scores.shape != (images.shape[0],) or not scores.is_floating_point() or _has_no_numbers(scores):
        raise _no_scores(reward, scores, images.shape[0])
    single = scores.to(torch.float32, copy=True)  # a reward may return one buffer at each call
    (checks or Checks()).finite((single,), partial(_not_finite, reward, scores.detach(), prompts))
    return single, parts


def _no_scores(reward: Reward, scores: object, images: int) -> RewardError:
    """The error for scores that are not one float for each image."""
    who = describe(reward)
    if not isinstance(scores, Tensor):
        return RewardError(f"{who} returned {type(scores).__name__}, not a tensor. Return torch scores of shape ({images},).")
    if scores.shape != (images,):
        return RewardError(
            f"{who} returned scores of shape {tuple(scores.shape)} for {images} images. A reward gives one score per image, "
            f"shape ({images},): reduce over channels and pixels, squeeze other axes, and do not average over images."
        )
    if _has_no_numbers(scores):
        return RewardError(f"{who} returned scores without numbers ({scores.layout} on {scores.device}). Return a dense tensor.")
    return RewardError(f"{who} returned {scores.dtype} scores. Return floats: `scores.float()`.")


def _has_no_numbers(scores: Tensor) -> bool:
    return scores.layout != torch.strided or scores.device.type == "meta"


def _not_finite(reward: Reward, scores: Tensor, prompts: Sequence[str]) -> RewardError:
    """The error for scores that are not finite as float32."""
    rows = (~torch.isfinite(scores.float())).nonzero().flatten().tolist()
    cause = broken_weights(networks_of(reward)) or (
        "Look for a division by zero, a logarithm or a square root at 0, or a number beyond the range of half or single precision in the "
        "reward."
    )
    return RewardError(
        f"{describe(reward)} returned {scores[rows[0]].item()} for image {rows[0]} (prompt {prompts[rows[0]]!r}; {len(rows)} of "
        f"{len(prompts)} scores are not finite). {cause}"
    )


def require_facts(reward: Reward, prompts: Sequence[str]) -> None:
    """Raises `InputError` if a prompt lacks a fact that the reward's card lists; the message names reward, fact and prompt."""
    for name in card_of(reward).facts:
        lacking = [prompt for prompt in prompts if name not in facts_of(prompt)]
        if lacking:
            raise InputError(
                f"{describe(reward)} needs the fact {name!r} with each prompt, but {len(lacking)} of {len(prompts)} have none, the first "
                f"{str(lacking[0])!r}. Give tta_core.Prompt(text, {name}=...), or a .jsonl or .csv file with that column."
            )


def _place(error: BaseException, reward: Reward) -> str:
    """`file:line` of the innermost call in the reward's own package, or of the innermost call of all if there is none."""
    package = (getattr(reward, "__module__", None) or type(reward).__module__).partition(".")[0]
    calls = [
        (frame.f_globals.get("__name__", "").partition(".")[0], f"{frame.f_code.co_filename}:{line}")
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [place for home, place in calls if home == package]
    return (own or [place for _, place in calls])[-1]
