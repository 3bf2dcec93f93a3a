"""Pictures on disk, as the images that a reward reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tta_core.errors import InputError, LoadError

if TYPE_CHECKING:
    from torch import Tensor


def read_picture(path: Path) -> "Tensor":
    """A picture as `(1, 3, H, W)` in [0, 1], turned as its EXIF data says. Raises `LoadError` if it is none, or is transparent."""
    import numpy
    import torch
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except OSError as error:
        raise LoadError(f"{path} could not be read as a picture: {error}. Give PNG, JPEG, WebP or another format of Pillow's.") from error
    if picture.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise LoadError(f"{path} is partly transparent, and what a reward would see depends on the ground. Flatten it onto a colour first.")
    levels = torch.from_numpy(numpy.array(picture.convert("RGB")))
    return levels.permute(2, 0, 1).float().div(255).unsqueeze(0)


def read_pictures(paths: Sequence[Path]) -> "Tensor":
    """Pictures of one size, `(b, 3, H, W)`. Raises `InputError` where sizes differ."""
    import torch

    pictures = [read_picture(path) for path in paths]
    sizes = {tuple(picture.shape[2:]) for picture in pictures}
    if len(sizes) > 1:
        raise InputError(f"The pictures to start from have {len(sizes)} sizes (height, width): {sorted(sizes)}. Bring them to one.")
    return torch.cat(pictures)
