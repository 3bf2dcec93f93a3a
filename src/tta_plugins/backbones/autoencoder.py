"""The autoencoder: the sizes that it supports, and differentiable decoding and encoding as a pipeline does them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.typing import Images, Latents
from tta_plugins.backbones.modules import dtype_of

VAE = Any
Config = Mapping[str, Any]


def latent_size(pipeline: Any, patch: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the latents. Raises `InputError` for sizes that are not a multiple of a latent pixel (and of a patch of them)."""
    side = pixels_of(pipeline)
    pixels = side * patch
    if height <= 0 or width <= 0 or height % pixels or width % pixels:
        nearest = tuple(max(pixels, round(side / pixels) * pixels) for side in (height, width))
        raise InputError(
            f"Cannot generate {height} x {width} pixels with {type(pipeline).__name__}: height and width must be multiples of {pixels}. "
            f"The nearest is {nearest[0]} x {nearest[1]}."
        )
    return height // side, width // side


def pixels_of(pipeline: Any) -> int:
    """Pixels along the side of one latent."""
    return int(pipeline.vae_scale_factor) * (2 if _is_patched(pipeline.vae) else 1)


def channels_of(vae: VAE) -> int:
    """The number of channels of the latents."""
    config = vae.config
    return int(config.get("latent_channels") or config["z_dim"]) * (4 if _is_patched(vae) else 1)


def decode(vae: VAE, x0: Latents, dtype: torch.dtype) -> Images:
    """Clean latents to RGB in [0, 1], not clamped, float32; the VAE computes in `dtype`."""
    z = _unpatched(vae, x0) if _is_patched(vae) else _unscaled(vae.config, x0)
    video = _is_of_videos(vae)
    images = vae.decode((z.unsqueeze(2) if video else z).to(dtype), return_dict=False)[0]
    return (images[:, :, 0] if video else images).float() / 2 + 0.5


def encode(vae: VAE, images: Images) -> Latents:
    """RGB in [0, 1] to clean latents: the posterior's mode, while diffusers' image-to-image pipelines sample from the posterior."""
    video = _is_of_videos(vae)
    pixels = (2 * images - 1).to(dtype_of(vae))
    encoded = vae.encode(pixels.unsqueeze(2) if video else pixels, return_dict=False)[0]
    latents = (encoded if isinstance(encoded, Tensor) else encoded.mode()).float()
    if _is_patched(vae):
        return patched(vae, latents)
    return _scaled(vae.config, latents[:, :, 0] if video else latents)


def _is_of_videos(vae: VAE) -> bool:
    """Whether it is Qwen-Image's autoencoder, whose inputs have a time axis."""
    return "temperal_downsample" in vae.config


def _is_patched(vae: VAE) -> bool:
    """FLUX.2's: 2 x 2 latents are one, normalised by running statistics."""
    return getattr(vae, "bn", None) is not None


def _unpatched(vae: VAE, z: Tensor) -> Tensor:
    mean, std = _statistics(vae, z)
    return rearrange(z * std + mean, "b (c p q) h w -> b c (h p) (w q)", p=2, q=2)


def patched(vae: VAE, z: Tensor) -> Tensor:
    """2 x 2 of FLUX.2's latents as one, normalised."""
    patches = rearrange(z, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2)
    mean, std = _statistics(vae, patches)
    return (patches - mean) / std


def _statistics(vae: VAE, z: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = (stored.view(1, -1, 1, 1).to(z) for stored in (vae.bn.running_mean, vae.bn.running_var))
    return mean, (variance + vae.config.batch_norm_eps).sqrt()


def _unscaled(config: Config, z: Latents) -> Latents:
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        return z * _channels(config["latents_std"], z) / config.get("scaling_factor", 1.0) + _channels(config["latents_mean"], z)
    return z / config["scaling_factor"] + (config.get("shift_factor") or 0.0)


def _scaled(config: Config, z: Latents) -> Latents:
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        return (z - _channels(config["latents_mean"], z)) * config.get("scaling_factor", 1.0) / _channels(config["latents_std"], z)
    return (z - (config.get("shift_factor") or 0.0)) * config["scaling_factor"]


def _channels(values: Sequence[float], z: Latents) -> Tensor:
    return torch.tensor(values, dtype=z.dtype, device=z.device).view(1, -1, 1, 1)
