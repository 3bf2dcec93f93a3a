"""Starts from an image: encodes it, adds noise for a later step of the sampler, and keeps the steps from there on.

Source: SDEdit (arXiv 2108.01073), in the terms of diffusers' image-to-image pipelines.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.backbone import Backbone, EncodesImages
from tta_core.protocols.scheduler import Scheduler
from tta_core.solving.last_steps import LastSteps
from tta_core.values.provenance import name_of
from tta_core.values.typing import Latents


def last_steps(scheduler: Scheduler, strength: float) -> LastSteps:
    """The last steps of the sampler, a share `strength` of all. Raises `InputError` if there are none."""
    if not 0 < strength <= 1:
        raise InputError(f"strength is {strength:g}, but it is the share of the steps that are run. Give a number above 0 and at most 1.")
    total = len(scheduler.steps)
    count = int(total * strength)
    if count == 0:
        least = math.ceil(100 / total) / 100
        raise InputError(f"strength is {strength:g}, which runs none of {total} steps. Give at least {least:g}, or more steps.")
    return LastSteps(scheduler, count)


def origin(backbone: Backbone, images: Float[Tensor, "images 3 H W"], noise: Latents) -> Latents:
    """The images' clean latents, one for each sample's noise."""
    if not isinstance(backbone, EncodesImages):
        raise IncompatibleError(
            f"Cannot start {name_of(backbone)} from an image. This is because it does not encode images: it has no `encode_image`. "
            "Leave `image` out, or give `latents`."
        )
    with torch.no_grad():
        x0 = backbone.encode_image(images.to(noise.device))
    if x0.shape[1:] != noise.shape[1:]:
        raise InputError(
            f"The image is {images.shape[2]} x {images.shape[3]} pixels, {tuple(x0.shape[1:])} as latents, but the run samples "
            f"{tuple(noise.shape[1:])}. Leave height and width out, or resize the image to them."
        )
    return x0.expand_as(noise)
