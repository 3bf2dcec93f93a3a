"""Resizing as two matrix products: Pillow's antialiased filters in float, and bit for bit in 8-bit arithmetic.

Two matrix products are deterministic on every device and twice differentiable; the backward pass of torch's antialiased resize is neither
on CUDA. A *cut* (start, stop) computes only those output pixels, so that the centre crop of a long panorama costs no more than that of a
square.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.values.typing import Images

Kernel = Literal["bicubic", "bilinear"]
Cut = tuple[int, int]
Weights = Float[Tensor, "out in"]
Resized = Float[Tensor, "b 3 new_H new_W"]

_FRACTION_BITS = 22  # Pillow's fixed point for 8-bit images: 32 - 8 - 2


def resize(
    images: Images, size: tuple[int, int], kernel: Kernel = "bicubic", rows: Cut | None = None, columns: Cut | None = None
) -> Resized:
    """Antialiased resize in float32, not clamped: a bicubic (a = -0.5) overshoots [0, 1] at edges, by up to 8 grey levels.

    `size` is (height, width) of the whole result; `rows` and `columns` select a part of it. Equal to `F.interpolate(..., antialias=True)`
    within 0.003 grey levels.
    """
    (height, width), (rows, columns) = size, _cuts(size, rows, columns)
    with torch.autocast(images.device.type, enabled=False):
        x = images.float()
        if width != x.shape[-1] or columns != (0, width):
            x = x @ _placed(x.shape[-1], width, kernel, columns, x.device, x.dtype).mT
        if height != x.shape[-2] or rows != (0, height):
            x = _placed(x.shape[-2], height, kernel, rows, x.device, x.dtype) @ x
    return x


def resize_pillow(images: Images, size: tuple[int, int], rows: Cut | None = None, columns: Cut | None = None) -> Resized:
    """The same bits as `Image.resize(size, BICUBIC)` for the 8-bit image; the gradient is that of the clamped float resize.

    Pillow rounds to 8 bit and clips after each of its two passes. The sums are integers below 2^53, so float64 matrix products compute
    them exactly. The width is resized first, as in Pillow before 13, which the published scores used; 13 reverses the order if the height
    shrinks more than the width, which does not happen if the aspect ratio is kept.
    """
    (height, width), (rows, columns) = size, _cuts(size, rows, columns)
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        levels = eight_bit(images).mul(255).round().double()
        if width != images.shape[-1]:
            levels = _rounded(levels @ _integers(_weights(images.shape[-1], width, "bicubic", columns).to(levels)).mT)
        else:
            levels = levels[..., slice(*columns)]
        if height != images.shape[-2]:
            levels = _rounded(_integers(_weights(images.shape[-2], height, "bicubic", rows).to(levels)) @ levels)
        else:
            levels = levels[..., slice(*rows), :]
        exact = (levels / 255).float()
    return straight_through(exact, resize(images, size, "bicubic", rows, columns).clamp(0, 1))


def eight_bit(images: Images) -> Images:
    """The image rounded to 8 bit, `round(255 x) / 255`; the gradient ignores the rounding."""
    return straight_through((images.detach().float() * 255).round() / 255, images.float())


def straight_through(value: Images, gradient: Images) -> Images:
    """`value` exactly, with the gradient of `gradient`."""
    return value + (gradient - gradient.detach())


@lru_cache(maxsize=64)
def _placed(old: int, new: int, kernel: Kernel, cut: Cut, device: torch.device, dtype: torch.dtype) -> Weights:
    """`_weights` on a device, copied there once."""
    with torch.inference_mode(False):
        return _weights(old, new, kernel, cut).to(device, dtype)


@lru_cache(maxsize=64)
def _weights(old: int, new: int, kernel: Kernel, cut: Cut) -> Weights:
    """The rows `cut` of the float64 matrix that resamples `old` pixels to `new` along one axis; each row sums to 1."""
    profile, reach = _KERNELS[kernel]
    scale = old / new
    stretch = max(scale, 1.0)
    with torch.inference_mode(False):
        centres = (torch.arange(*cut, dtype=torch.float64) + 0.5) * scale
        offsets = (torch.arange(old, dtype=torch.float64) - centres[:, None] + 0.5) / stretch
        weights = torch.where(offsets.abs() < reach, profile(offsets.abs()), 0.0)
        return weights / weights.sum(1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((x - 5) * x + 8) * x - 4
    return torch.where(x < 1, near, far * -0.5)


def _triangle(x: Tensor) -> Tensor:
    return 1 - x


_KERNELS: dict[Kernel, tuple[Callable[[Tensor], Tensor], float]] = {"bicubic": (_cubic, 2.0), "bilinear": (_triangle, 1.0)}


def _integers(weights: Weights) -> Weights:
    """Fixed-point weights, rounded half away from zero, as by C's truncating cast after adding 0.5."""
    scaled = weights * 2**_FRACTION_BITS
    return torch.trunc(scaled + torch.where(scaled < 0, -0.5, 0.5))


def _rounded(sums: Tensor) -> Tensor:
    """Fixed-point sums, rounded to whole grey levels 0..255."""
    return torch.floor((sums + 2 ** (_FRACTION_BITS - 1)) / 2**_FRACTION_BITS).clamp(0, 255)


def _cuts(size: tuple[int, int], rows: Cut | None, columns: Cut | None) -> tuple[Cut, Cut]:
    return rows or (0, size[0]), columns or (0, size[1])
