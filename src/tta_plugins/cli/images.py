"""Pictures on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

from tta_core.errors import LoadError

if TYPE_CHECKING:
    from PIL.Image import Image


def read_picture(path: Path) -> "Image":
    """A picture in RGB, turned as its EXIF data says. Raises `LoadError` if it is none, or is transparent."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except OSError as error:
        raise LoadError(f"{path} could not be read as a picture: {error}. Give PNG, JPEG, WebP or another format of Pillow's.") from error
    if picture.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise LoadError(f"{path} is partly transparent, and what a reward would see depends on the ground. Flatten it onto a colour first.")
    return picture.convert("RGB")
