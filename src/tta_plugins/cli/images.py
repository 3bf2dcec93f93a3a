"""Pictures on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

from tta_core.errors import LoadError

if TYPE_CHECKING:
    from PIL.Image import Image


def read_picture(path: Path) -> "Image":
    """A picture in RGB, turned as its EXIF data says. Raises `LoadError` if it is none, is transparent, or unpacks to too many pixels."""
    from PIL import Image, ImageOps

    if path.exists() and not path.is_file():
        raise LoadError(f"{path} is no file, so it could not be read as a picture. Give a picture file.")
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
        opaque = picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    except Exception as error:  # a damaged file ends in almost any of Pillow's, zlib's and struct's
        raise LoadError(f"{path} could not be read as a picture: {error}. Give PNG, JPEG, WebP or another format of Pillow's.") from error
    if not opaque:
        raise LoadError(f"{path} is partly transparent, and what a reward would see depends on the ground. Flatten it onto a colour first.")
    return picture.convert("RGB")
