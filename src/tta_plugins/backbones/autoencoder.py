"""The autoencoder: which sizes it can draw, and clean latents to pixels. What a pipeline's `decode` does, kept differentiable."""

import copy
from typing import Any

import torch
from torch import Tensor

from tta_core._typing import Images, Latents
from tta_core.errors import InputError

VAE = Any


def latent_shape(pipeline: Any, channels: int, patch: int, height: int, width: int) -> tuple[int, int, int]:
    """(c, h, w) of the latents. Raises `InputError` for sizes that are no whole number of latent pixels (and of patches of them)."""
    pixels = pipeline.vae_scale_factor * patch
    if height <= 0 or width <= 0 or height % pixels or width % pixels:
        nearest = tuple(max(pixels, round(side / pixels) * pixels) for side in (height, width))
        raise InputError(
            f"Cannot draw {height} x {width} pixels with {type(pipeline).__name__}: height and width must be multiples of {pixels}. "
            f"The nearest is {nearest[0]} x {nearest[1]}."
        )
    return channels, height // pipeline.vae_scale_factor, width // pipeline.vae_scale_factor


def decode(vae: VAE, x0: Latents) -> Images:
    """Clean latents to RGB in [0, 1], not clamped, float32.

    A float16 autoencoder that says `force_upcast` overflows; a float32 copy decodes instead, so that the pipeline's own stays as it is.
    """
    if vae.dtype == torch.float16 and vae.config.get("force_upcast", False):
        vae = copy.deepcopy(vae).float()
    return vae.decode(_unscaled(vae, x0).to(vae.dtype), return_dict=False)[0].float() / 2 + 0.5


def _unscaled(vae: VAE, x0: Latents) -> Latents:
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        return x0 * _channels(std, x0) / config["scaling_factor"] + _channels(mean, x0)
    return x0 / config["scaling_factor"] + (config.get("shift_factor") or 0.0)


def _channels(values: Any, x0: Latents) -> Tensor:
    return torch.tensor(values, dtype=x0.dtype, device=x0.device).view(1, -1, 1, 1)
