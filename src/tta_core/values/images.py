"""Converts images: files, PIL images and tensors to RGB in [0, 1], and tensors to PIL images. Unclear formats are refused."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.errors import InputError, LoadError
from tta_core.values.arguments import shown
from tta_core.values.typing import Images

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = Float[Tensor, "3 H W"]

_WHITE = {"I;16": 65535.0, "I;16L": 65535.0, "I;16B": 65535.0, "I;16N": 65535.0}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_image(path: str | Path) -> Pixels:
    """An image file as RGB in [0, 1], rotated by its EXIF data.

    Raises:
        LoadError: it is not a regular file or not an image, or the image is animated, partly transparent, too large (Pillow's limit against
            decompression bombs, 179 megapixels), or of a mode whose white is not defined; the message names the file.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    if path.exists() and not path.is_file():
        raise LoadError(f"{path} is not a file, so it could not be read as an image. Give an image file.")
    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, but below the limit
            frames = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
            turned = ImageOps.exif_transpose(opened)
            turned.load()
            white = 65535.0 if opened.format == "PNG" else None  # older Pillows give 16-bit grey PNGs the mode I
        if frames > 1:
            raise InputError(f"it has {frames} frames. Save the frame to use as a single image")
        return from_pil(turned, white)
    except Exception as error:  # for a damaged file, Pillow, zlib and struct raise many kinds of exceptions
        reason = str(error).rstrip(".") or type(error).__name__
        raise LoadError(f"{path} could not be read as an image: {reason}. Give an 8-bit RGB PNG, JPEG or WebP file.") from error


def from_pil(image: "Image", integer_white: float | None = None) -> Pixels:
    """A PIL image of any mode as RGB in [0, 1]. 16-bit grey is divided by 65535; floats must lie in [0, 1].

    integer_white: the value of white in mode I, 32-bit integers; None: unknown, and refused.

    Raises:
        InputError: it is empty, partly transparent, or of a mode or range whose white is not defined.
    """
    import numpy

    if not (image.width and image.height):
        raise InputError(f"the image is empty, {image.width} x {image.height}. Give one with pixels.")
    white = _WHITE.get(image.mode, integer_white if image.mode == "I" else 1.0 if image.mode == "F" else None)
    if white is None and image.mode == "I":
        raise InputError("32-bit integers (mode I) have no defined white. Convert it to 8 or 16 bit, or give floats in [0, 1].")
    if white is not None:
        grey = torch.from_numpy(numpy.array(image).astype(numpy.float64)) / white
        if not (grey.min() >= 0 and grey.max() <= 1):
            raise InputError(
                f"its mode {image.mode} has values in [{grey.min() * white:.3g}, {grey.max() * white:.3g}], not [0, {white:g}]."
            )
        return grey.float().expand(3, -1, -1).clone()
    try:
        has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
        if has_alpha and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise InputError(
                "it is partly transparent, so its colours depend on the background. Flatten it onto a background colour first."
            )
        levels = numpy.array(image.convert("RGB"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"its mode {image.mode} cannot be converted to RGB ({error}). Convert it first.") from error
    return torch.from_numpy(levels).permute(2, 0, 1).float() / 255


def as_pixels(image: object, samples: int) -> Images:
    """A tensor, a PIL image or a file, or a list of them, as `(b, 3, H, W)` in [0, 1], with b = 1 or `samples`.

    Raises:
        InputError: the number of images, their shape, dtype or range is wrong.
        LoadError: a file cannot be read.
    """
    pixels = _usable(image) if isinstance(image, Tensor) else _stacked(image)
    if pixels.dim() != 4 or pixels.shape[1] != 3 or pixels.shape[0] not in (1, samples) or not pixels.numel():
        raise InputError(
            f"The image has the shape {tuple(pixels.shape)}, but {samples} samples take (1, 3, H, W) or ({samples}, 3, H, W), RGB. "
            "Give PIL images of one size, or such a tensor."
        )
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # a NaN is neither
        raise InputError(f"The image's values lie in [{pixels.min():.3g}, {pixels.max():.3g}], but pixels must be numbers in [0, 1].")
    return pixels.detach().float()


def _usable(image: Tensor) -> Tensor:
    if image.dtype not in _FLOATS or image.layout != torch.strided or image.is_meta or image.is_quantized:
        kind = "a tensor without data (meta)" if image.is_meta else f"a {image.layout} tensor of {image.dtype}"
        raise InputError(
            f"The image is {kind}, but it must be a dense tensor of floats in [0, 1]. Convert 8-bit levels by image.float() / 255."
        )
    return image


def _stacked(image: object) -> Images:
    given = list(image) if isinstance(image, Sequence) and not isinstance(image, str) else [image]
    if not given:
        raise InputError(f"An image must be a PIL image, a file or a (b, 3, H, W) tensor, but this is {shown(image)}.")
    pixels = [_one(image) for image in given]
    if len({one.shape for one in pixels}) > 1:
        sizes = [f"{one.shape[2]} x {one.shape[1]}" for one in pixels]
        raise InputError(f"The images have different sizes: {', '.join(sizes)}. Resize them to one.")
    return torch.stack(pixels)


def _one(image: object) -> Pixels:
    from PIL.Image import Image

    if isinstance(image, str | Path):
        return read_image(image)
    if not isinstance(image, Image):
        raise InputError(
            f"An image must be a PIL image, a file or a (b, 3, H, W) tensor, but this is {shown(image)}. Use PIL's Image.fromarray."
        )
    try:
        return from_pil(image)
    except InputError as error:
        raise InputError(f"An image of mode {image.mode} cannot be used: {error}") from error


def to_pil(image: Tensor) -> "Image":
    """One `(3, H, W)` image in [0, 1] as an 8-bit RGB PIL image."""
    from PIL import Image

    levels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
