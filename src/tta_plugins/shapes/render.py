"""Renders scenes to images at any resolution, by signed distances with analytic antialiasing.

Coordinates are in units of 1/64 of the image at every resolution; x points right, y points down.
"""

import math

import torch
from attrs import frozen
from torch import Tensor

from tta_plugins.shapes.grammar import BACKGROUNDS, COLOURS, SHAPES, Thing

UNITS = 64
PALETTE = {
    "red": (0.90, 0.10, 0.10),
    "green": (0.10, 0.65, 0.20),
    "blue": (0.10, 0.25, 0.90),
    "yellow": (0.98, 0.85, 0.10),
    "purple": (0.55, 0.15, 0.75),
    "orange": (1.00, 0.55, 0.05),
    "white": (1.00, 1.00, 1.00),
    "black": (0.05, 0.05, 0.05),
    "grey": (0.50, 0.50, 0.50),
}


@frozen
class Placed:
    """A thing with its centre and radius, in units of 1/64 of the image."""

    thing: Thing
    x: float
    y: float
    radius: float


@frozen
class Scene:
    """The contents of an image. Later objects cover earlier ones."""

    objects: tuple[Placed, ...]
    background: str


def render(scenes: list[Scene], size: int = 64) -> Tensor:
    """Images [b 3 size size] in [0, 1], float32."""
    most = max((len(scene.objects) for scene in scenes), default=0)
    images = torch.tensor([PALETTE[scene.background] for scene in scenes])[:, :, None, None].expand(-1, 3, size, size)
    for layer in range(most):
        images = _paint(images, [scene.objects[layer] if layer < len(scene.objects) else None for scene in scenes])
    return images.contiguous()


def distance(shape: str, dx: Tensor, dy: Tensor, radius: Tensor) -> Tensor:
    """Signed distance to the outline, negative inside. The three shapes have nearly equal areas."""
    if shape == "circle":
        return torch.sqrt(dx * dx + dy * dy + 1e-12) - radius
    if shape == "square":
        half = 0.89 * radius
        qx, qy = dx.abs() - half, dy.abs() - half
        return torch.sqrt(qx.clamp_min(0) ** 2 + qy.clamp_min(0) ** 2 + 1e-12) + torch.maximum(qx, qy).clamp_max(0)
    if shape == "triangle":
        inner = 0.70 * radius
        dy = dy - 0.35 * radius  # centres it on its bounding box, not on its centroid
        sides = (dy, *(-0.5 * dy + sign * math.sqrt(0.75) * dx for sign in (1.0, -1.0)))
        return torch.stack(torch.broadcast_tensors(*sides)).amax(0) - inner
    raise ValueError(f"No shape is called {shape!r}. Known: {', '.join(SHAPES)}.")


def grid(size: int) -> tuple[Tensor, Tensor]:
    """x [1 size] and y [size 1] of the pixel centres, in units."""
    at = (torch.arange(size) + 0.5) * (UNITS / size)
    return at[None, :], at[:, None]


def coverage(shape: str, x: Tensor, y: Tensor, radius: Tensor, size: int) -> Tensor:
    """The fraction of each pixel that the shape covers, [n size size] in [0, 1]."""
    across, down = grid(size)
    signed = distance(shape, across - x[:, None, None], down - y[:, None, None], radius[:, None, None])
    return (0.5 - signed * (size / UNITS)).clamp(0, 1)


def _paint(images: Tensor, objects: list[Placed | None]) -> Tensor:
    images, size = images.clone(), images.shape[-1]
    for shape in SHAPES:
        by_row = {row: placed for row, placed in enumerate(objects) if placed is not None and placed.thing.shape == shape}
        if not by_row:
            continue
        rows, chosen = list(by_row), list(by_row.values())
        x, y, radius = (torch.tensor([getattr(placed, name) for placed in chosen]) for name in ("x", "y", "radius"))
        cover = coverage(shape, x, y, radius, size)[:, None]
        colours = torch.tensor([PALETTE[placed.thing.colour] for placed in chosen])[:, :, None, None]
        images[rows] = images[rows] + cover * (colours - images[rows])
    return images


assert set(PALETTE) == {*COLOURS, *BACKGROUNDS}
