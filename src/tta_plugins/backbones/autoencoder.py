"""The autoencoder: which sizes it can draw, clean latents to pixels and back. What a pipeline does around its VAE, differentiable."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.typing import Images, Latents

VAE = Any
Config = Mapping[str, Any]


def latent_size(pipeline: Any, patch: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the latents. Raises `InputError` for sizes that are no whole number of latent pixels (and of patches of them)."""
    pixels = pipeline.vae_scale_factor * patch
    if height <= 0 or width <= 0 or height % pixels or width % pixels:
        nearest = tuple(max(pixels, round(side / pixels) * pixels) for side in (height, width))
        raise InputError(
            f"Cannot draw {height} x {width} pixels with {type(pipeline).__name__}: height and width must be multiples of {pixels}. "
            f"The nearest is {nearest[0]} x {nearest[1]}."
        )
    return height // pipeline.vae_scale_factor, width // pipeline.vae_scale_factor


def decode(vae: VAE, x0: Latents) -> Images:
    """Clean latents to RGB in [0, 1], not clamped, float32."""
    return vae.decode(_unscaled(vae.config, x0).to(vae.dtype), return_dict=False)[0].float() / 2 + 0.5


def encode(vae: VAE, images: Images) -> Latents:
    """RGB in [0, 1] to clean latents: the posterior's mode, where diffusers' image-to-image pipelines draw from it."""
    encoded = vae.encode((2 * images - 1).to(vae.dtype), return_dict=False)[0]
    latents = encoded if isinstance(encoded, Tensor) else encoded.mode()
    return _scaled(vae.config, latents.float())


def _unscaled(config: Config, z: Latents) -> Latents:
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        return z * _channels(config["latents_std"], z) / config["scaling_factor"] + _channels(config["latents_mean"], z)
    return z / config["scaling_factor"] + (config.get("shift_factor") or 0.0)


def _scaled(config: Config, z: Latents) -> Latents:
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        return (z - _channels(config["latents_mean"], z)) * config["scaling_factor"] / _channels(config["latents_std"], z)
    return (z - (config.get("shift_factor") or 0.0)) * config["scaling_factor"]


def _channels(values: Sequence[float], z: Latents) -> Tensor:
    return torch.tensor(values, dtype=z.dtype, device=z.device).view(1, -1, 1, 1)
