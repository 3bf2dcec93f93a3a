"""A decorator of every reward's call that refuses invalid images and prompts, for users who call a reward directly."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from tta_core.errors import InputError
from tta_core.values.arguments import shown
from tta_core.values.provenance import describe
from tta_core.values.typing import Images, Scores

Owner = TypeVar("Owner")
Call = Callable[[Owner, Images, Sequence[str]], Scores]
_OVERSHOOT = 1.0  # decoded images that are not clamped may exceed [0, 1] by this much


def checked_call(call: Call[Owner]) -> Call[Owner]:
    """A reward's `__call__` that first raises `InputError` unless it gets (b, 3, H, W) floats in [0, 1] and b prompts.

    Values are checked only if no gradient is needed: in a run each check would wait for the GPU.
    """

    @wraps(call)
    def checked(self: Owner, images: Any, prompts: Any) -> Scores:
        problem = _problem(images) or _problem_of_prompts(images, prompts)
        if problem:
            raise InputError(f"Cannot use {describe(self)} with these arguments. This is because {problem}")
        return call(self, images, prompts)

    return checked


def _problem(images: object) -> str | None:
    if not isinstance(images, Tensor):
        return (
            f"the images are of type {type(images).__name__}, but a reward takes a tensor (b, 3, H, W) of floats in [0, 1]. "
            "tta_core.values.images.as_pixels(images, b) makes one of PIL images and files."
        )
    shape = tuple(images.shape)
    if images.dim() == 3:
        return f"the images have the shape {shape}, without a batch. Give images[None] and a list of one prompt."
    if images.dim() != 4 or not images.numel():
        return f"the images have the shape {shape}, but a reward takes (b, 3, H, W), with at least one pixel."
    if shape[1] != 3:
        return f"the images have the shape {shape}, but a reward takes three channels, (b, 3, H, W). {_for_channels(shape)}"
    if images.layout != torch.strided or images.is_quantized or images.is_meta:
        kind = "without data (meta)" if images.is_meta else f"of layout {images.layout}"
        return f"the images are a tensor {kind}. Give a dense tensor."
    if not images.is_floating_point():
        return f"the images hold {images.dtype}, but a reward takes floats in [0, 1]. Convert 8-bit levels by images.float() / 255."
    return None if images.requires_grad or isinstance(images, FakeTensor) else _problem_of_values(images)


def _for_channels(shape: tuple[int, ...]) -> str:
    if shape[3] in (1, 3, 4):
        return "The channels are last: give images.permute(0, 3, 1, 2)."
    if shape[1] == 1:
        return "Convert grey images to RGB by images.expand(-1, 3, -1, -1)."
    if shape[1] == 4:
        return "The fourth channel is usually alpha: blend the image with a background, then give images[:, :3]."
    return "Convert the images to RGB."


def _problem_of_values(images: Tensor) -> str | None:
    low, high = torch.stack(images.detach().aminmax()).cpu().tolist()  # one wait for a GPU
    if not (math.isfinite(low) and math.isfinite(high)):
        return "the images hold NaN or infinite values. Look for the code that computed them."
    if -1 <= low < -0.5 and high <= 1:
        return f"the images' values lie in [{low:.3g}, {high:.3g}], but pixels are in [0, 1]. From [-1, 1], give images / 2 + 0.5."
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        return f"the images' values lie in [{low:.3g}, {high:.3g}], but pixels are in [0, 1]. From 0 to 255, give images / 255."
    return None


def _problem_of_prompts(images: Tensor, prompts: object) -> str | None:
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        return f"the prompts are {shown(prompts)}, but a reward takes a list with one prompt for each image. Give [prompt] * {len(images)}."
    wrong = [prompt for prompt in prompts if not isinstance(prompt, str)]
    if wrong:
        return f"one of the prompts is {shown(wrong[0])}, but a prompt is a text. Give texts."
    if len(prompts) != len(images):
        return f"there are {len(images)} images and {len(prompts)} prompts. Give one prompt for each image."
    return None
