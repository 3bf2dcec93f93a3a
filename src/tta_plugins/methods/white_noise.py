"""Projections of steered noise: to its first norm, or to the statistics of white noise."""

import math
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from tta_core.solving.steering import Tensors
from tta_core.values.typing import Noises

Projection = Literal["norm", "white"]

_BLOCK = 4


@torch.no_grad()
def project(value: Tensors, start: Tensors, projection: Projection | None) -> None:
    """Replaces steered noises `(b, rows, c, h, w)` by their projections, in place; `start` are the first noises. None changes nothing."""
    for tensor, first in zip(value, start, strict=True):
        tensor.copy_(projected(tensor.transpose(0, 1), first.transpose(0, 1), projection).transpose(0, 1))


def projected(noise: Noises, start: Noises, projection: Projection | None) -> Noises:
    """Noises `(rows, b, c, h, w)`, projected after a step; None does not change them.

    "norm" gives each sample the norm that it started with (DOODL, arXiv 2303.13703). "white" gives each channel of each noise the mean
    power of white noise, 1, in every ring of spatial frequencies, and then each block of 4 x 4 latent pixels its own expected norm.
    """
    if projection is None:
        return noise
    if projection == "white":
        return _blockwise(_flat_spectrum(noise))
    lengths = [tensor.square().sum((0, 2, 3, 4), keepdim=True).sqrt() for tensor in (start, noise)]
    return noise * (lengths[0] / lengths[1].clamp_min(torch.finfo(noise.dtype).tiny))


def _flat_spectrum(noise: Noises) -> Noises:
    height, width = noise.shape[-2:]
    spectrum = torch.fft.fft2(noise, norm="ortho")
    ring = _rings(height, width).to(noise.device)
    count = torch.bincount(ring.flatten()).to(noise.dtype)
    power = torch.zeros(*noise.shape[:3], len(count), dtype=noise.dtype, device=noise.device)
    power.index_add_(3, ring.flatten(), spectrum.abs().square().flatten(3))
    scale = (power / count).clamp_min(torch.finfo(noise.dtype).tiny).rsqrt()
    return torch.fft.ifft2(spectrum * scale[..., ring], norm="ortho").real


def _rings(height: int, width: int) -> Int[Tensor, "h w"]:
    """The ring of each frequency. A single frequency has one value, so each ring has at least four frequencies."""
    rows, columns = (torch.fft.fftfreq(size).abs() * 2 for size in (height, width))
    rings = max(1, min(height, width) // 4)
    radius = torch.maximum(rows[:, None], columns[None])
    return (radius * rings).floor().clamp_max(rings - 1).long()


def _blockwise(noise: Noises) -> Noises:
    """Scales each block of 4 x 4 pixels, or of the largest size that divides height and width, to its expected norm."""
    rows, columns = (math.gcd(size, _BLOCK) for size in noise.shape[-2:])
    blocks = rearrange(noise, "k b c (h p) (w q) -> k b h w (c p q)", p=rows, q=columns)
    length = blocks.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(noise.dtype).tiny)
    blocks = blocks * (math.sqrt(blocks.shape[-1]) / length)
    return rearrange(blocks, "k b h w (c p q) -> k b c (h p) (w q)", p=rows, q=columns)
