"""A reward scores images; its card says what the number means; the border checks what comes back.

A reward is any callable `(images, prompts) -> scores`, a plain function included. Higher is better, always: a model whose number
falls as pictures improve is registered negated.
"""

import traceback
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tta_core._typing import Images, Scores, frozen
from tta_core.errors import InputError, RewardError
from tta_core.provenance import describe


@runtime_checkable
class Reward(Protocol):
    """Scores of images, one per image, each depending on its own image and prompt alone; higher is better."""

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Images are RGB in [0, 1], float32; `prompts[i]` belongs to `images[i]`."""
        ...


@frozen
class Card:
    """What a score means. `range` is what real pictures get, not a bound; None: unknown.

    `differentiable` None: not declared, found out by one trial call before the first step. `needs` names the space that the reward
    reads; only "image" (decoded, clean) exists today.
    """

    unit: str = "score"
    range: tuple[float, float] | None = None
    version: str = ""
    differentiable: bool | None = None
    needs: str = "image"
    source: str = ""
    licence: str = ""
    weights: str = ""
    citation: str = ""


@runtime_checkable
class Carded(Protocol):
    """A reward that declares its card (recommended; a plain function gets an empty one)."""

    card: Card


@runtime_checkable
class Networked(Protocol):
    """Something with networks, which memory policies may cast, checkpoint or move, and a run freezes and hands back."""

    networks: Mapping[str, nn.Module]


@runtime_checkable
class Mixed(Protocol):
    """A reward made of others, whose own scores belong in the trace."""

    def parts(self, images: Images, prompts: Sequence[str]) -> Mapping[str, Scores]:
        """Each part's scores, by name; checked at their own border."""
        ...

    def mixed(self, parts: Mapping[str, Scores]) -> Scores:
        """The reward, from its parts' scores."""
        ...


def card_of(reward: Reward) -> Card:
    """The reward's card, or an empty one."""
    return reward.card if isinstance(reward, Carded) else Card()


def networks_of(thing: object) -> Mapping[str, nn.Module]:
    """The networks that something declares; a bare `nn.Module` is its own only network."""
    if isinstance(thing, nn.Module):
        return {"reward": thing}
    return thing.networks if isinstance(thing, Networked) else {}


def checked(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Scores:
    """The scores of `judged`, for those who have no use for a mixture's parts. Raises what it raises."""
    return judged(reward, images, prompts)[0]


def judged(reward: Reward, images: Tensor, prompts: Sequence[str]) -> tuple[Scores, Mapping[str, Scores]]:
    """The border: call a reward and refuse anything but one finite float score per image. Gives a mixture's parts too.

    Raises:
        InputError: there are not as many prompts as images.
        RewardError: it raised, returned no tensor, a wrong shape, an integer dtype or a NaN; the message names the reward, its
            package, the value and the remedy. Nothing is replaced by zero and no row is dropped.
    """
    who = describe(reward)
    if len(prompts) != images.shape[0]:
        raise InputError(f"{who} was given {images.shape[0]} images and {len(prompts)} prompts. Give one prompt for each image.")
    parts: Mapping[str, Scores] = {}
    try:
        if isinstance(reward, Mixed):
            parts = reward.parts(images, prompts)
            scores = reward.mixed(parts)
        else:
            scores = reward(images, prompts)
    except RewardError:
        raise
    except Exception as error:
        raise RewardError(
            f"{who} raised {type(error).__name__}: {error}. It was given images {tuple(images.shape)} in [0, 1] and "
            f"{len(prompts)} prompts; it happened in {_place(error, reward)}."
        ) from error
    if not isinstance(scores, Tensor):
        raise RewardError(f"{who} returned {type(scores).__name__}, not a tensor. Return torch scores of shape ({len(prompts)},).")
    if scores.shape != (images.shape[0],):
        raise RewardError(
            f"{who} returned scores of shape {tuple(scores.shape)} for {images.shape[0]} images. A reward gives one score per image, "
            f"shape ({images.shape[0]},): reduce over channels and pixels, squeeze the rest, and do not average over images."
        )
    if not scores.is_floating_point():
        raise RewardError(f"{who} returned {scores.dtype} scores. Return floats: `scores.float()`.")
    if not torch.isfinite(scores).all():
        rows = (~torch.isfinite(scores)).nonzero().flatten().tolist()
        row = rows[0]
        raise RewardError(
            f"{who} returned {scores[row].item()} for image {row} (prompt {prompts[row]!r}; {len(rows)} of {len(prompts)} scores are not "
            "finite). Look for a division by zero, a logarithm or a square root at 0, or a half-precision overflow in the reward."
        )
    return scores.float(), parts


def _place(error: Exception, reward: Reward) -> str:
    """`file:line` of the innermost call in the reward's own package; the innermost of all for what is written elsewhere."""
    package = (getattr(reward, "__module__", None) or type(reward).__module__).partition(".")[0]
    calls = [
        (frame.f_globals.get("__name__", "").partition(".")[0], f"{frame.f_code.co_filename}:{line}")
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [place for home, place in calls if home == package]
    return (own or [place for _, place in calls])[-1]
