"""Functions for the families with a U-Net: its image size, and the guidance input of a distilled U-Net (LCM)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.family import Pipeline, Traits
from tta_plugins.backbones.missing_parts import check_parts
from tta_plugins.backbones.modules import inside


def side(pipeline: Pipeline) -> int:
    """The side in pixels of the square images of the U-Net's training."""
    denoiser: Any = inside(pipeline.unet)
    size = denoiser.config.sample_size
    return int(size if isinstance(size, int) else size[0]) * int(pipeline.vae_scale_factor)


def guidance_embedding(pipeline: Pipeline, guidance: float) -> Tensor | None:
    """The embedding `(1, d)` of a guidance for a distilled U-Net; None for a U-Net without such an input.

    Raises `InputError` for a pipeline without a U-Net.

    Source: sinusoidal embedding of guidance - 1 (arXiv 2310.04378 section 4.1; the frequencies are those of diffusers' pipelines).
    """
    check_parts(pipeline, "unet")
    config_get = getattr(inside(pipeline.unet).config, "get", None)
    width = config_get("time_cond_proj_dim") if config_get is not None else None
    if width is None:
        return None
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32, device="cpu") * (-torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = torch.tensor([[1000.0 * (guidance - 1)]], dtype=torch.float32, device="cpu") * rates
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))


def embedded(embedding: Tensor | None, x: Latents) -> Mapping[str, Tensor]:
    """The embedded guidance as the U-Net's argument, one row for each of x; empty if there is none."""
    return {} if embedding is None else {"timestep_cond": embedding.to(x).expand(x.shape[0], -1)}


def without_null(traits: Traits, embedding: Tensor | None) -> Traits:
    """The family's traits, without an unconditional branch if the U-Net has a guidance input."""
    return traits if embedding is None else evolve(traits, has_null=False, guidance=1.0, steps=4)
