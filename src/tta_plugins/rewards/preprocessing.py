"""Preprocessing of a decoded image to a reward network's square input, as one value whose fields describe each published scorer.

Published scores differ by their resizing: another filter changes the pixels of an image by up to 95 grey levels.
Source: `official` is the preprocessing of the authors' scorer for an 8-bit image; the others are those of the released code of DAS
(2f4b223), Null-TTA (583c3d4), DNO (d67386f), ReNO (bd6f6ac) and DATE (d7dcd1e), so that their tables can be reproduced.
"""

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from tta_core.errors import IncompatibleError, InputError
from tta_core.values.typing import Images, frozen
from tta_plugins.rewards.resize import Kernel, Resized, eight_bit, resize, resize_pillow

Square = Float[Tensor, "b 3 n n"]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@frozen
class ImagePath:
    """A way to resize an image of any size to n x n pixels.

    fit: *crop*: short side to n, centre crop. *crop-floor*: the same with Hugging Face's rounding, one pixel off when the margin is odd.
        *letterbox*: long side to n, black borders. *squash*: both sides to n. *square*: the image must be square.
    rounding: *none*: float. *input*: the image is first rounded to 8 bit. *pillow*: rounded to 8 bit first and after each pass of the
        resize.
    clamp: whether the bicubic filter's overshoot is clamped to [0, 1], as in an 8-bit image.
    """

    fit: Literal["crop", "crop-floor", "letterbox", "squash", "square"]
    kernel: Kernel = "bicubic"
    antialias: bool = True
    rounding: Literal["none", "input", "pillow"] = "none"
    clamp: bool = True

    def __call__(self, images: Images, n: int) -> Square:
        """Float32 in [0, 1], except for unclamped overshoot; differentiable, with gradients that ignore rounding."""
        height, width = images.shape[-2:]
        new_height, new_width = self._size(height, width, n)
        top, left = (self._margin(side, n) for side in (new_height, new_width))
        rows, columns = (max(top, 0), min(top + n, new_height)), (max(left, 0), min(left + n, new_width))
        x = self._resized(images, (new_height, new_width), rows, columns)
        x = x.clamp(0, 1) if self.clamp else x
        right, bottom = n - x.shape[-1] - max(-left, 0), n - x.shape[-2] - max(-top, 0)
        return pad(x, (max(-left, 0), right, max(-top, 0), bottom))

    def _size(self, height: int, width: int, n: int) -> tuple[int, int]:
        if self.fit == "squash":
            return n, n
        if self.fit == "square":
            if height != width:
                raise IncompatibleError(
                    f"Cannot use this image path with images of {height} x {width} pixels. This is because it reproduces code that "
                    "resizes without cropping, and its network reads squares. Use preprocess='diff' or 'official'."
                )
            return n, n
        if self.fit == "letterbox":
            scale = n / max(height, width)
            return max(round(height * scale), 1), max(round(width * scale), 1)
        return (n, int(n * width / height)) if height <= width else (int(n * height / width), n)

    def _margin(self, side: int, n: int) -> int:
        """The index along one side at which the n pixels begin; negative if a border is added."""
        if self.fit == "crop":
            return round((side - n) / 2)
        return (side - n) // 2 if self.fit == "crop-floor" else -((n - side) // 2)

    def _resized(self, images: Images, size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Resized:
        if self.rounding == "pillow":
            return resize_pillow(images, size, rows, columns)
        x = eight_bit(images) if self.rounding == "input" else images
        if self.antialias:
            return resize(x, size, self.kernel, rows, columns)
        with torch.autocast(x.device.type, enabled=False):
            whole = interpolate(x.float(), size, mode=self.kernel, align_corners=False) if size != x.shape[-2:] else x.float()
        return whole[..., slice(*rows), slice(*columns)]


_BILINEAR = ImagePath("square", "bilinear")
_RENO = ImagePath("crop", clamp=False)
_DATE = ImagePath("squash", "bilinear", antialias=False)
_HUGGING_FACE = ImagePath("crop-floor", rounding="pillow")

CLIP_PATHS = {
    "official": ImagePath("crop", rounding="pillow"),
    "diff": ImagePath("crop"),
    "das": _BILINEAR,
    "null-tta": _BILINEAR,
    "dno": _BILINEAR,
    "reno": _RENO,
    "date": _DATE,
}
PICKSCORE_PATHS = CLIP_PATHS | {"official": _HUGGING_FACE}
IMAGEREWARD_PATHS = {
    "official": ImagePath("crop", rounding="pillow"),
    "diff": ImagePath("crop"),
    "das": _HUGGING_FACE,
    "null-tta": _HUGGING_FACE,
    "reno": _RENO,
    "date": _DATE,
}
HPS_PATHS = {
    "official": ImagePath("letterbox", rounding="input", clamp=False),
    "official-no-antialias": ImagePath("letterbox", antialias=False, rounding="input", clamp=False),
    "diff": ImagePath("letterbox", clamp=False),
    "das": _HUGGING_FACE,
    "null-tta": ImagePath("squash", antialias=False, clamp=False),
    "dno": _BILINEAR,
    "reno": _RENO,
}

SIGLIP_MEAN = (0.5, 0.5, 0.5)  # and its standard deviation
SIGLIP_PATHS = {"official": ImagePath("squash", rounding="pillow"), "diff": ImagePath("squash")}


@frozen
class Pixels:
    """The preprocessing of a network's input: an image path to its size, then its normalisation."""

    path: ImagePath
    size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __call__(self, images: Images) -> Square:
        """Normalised float32 pixels; cast them to the network's dtype only after this."""
        x = self.path(images, self.size)
        return (x - _channels(self.mean, x.device)) / _channels(self.std, x.device)


def path_named(name: str, paths: dict[str, ImagePath]) -> ImagePath:
    """The image path of that name. Raises `InputError`, which lists this reward's image paths, for another name."""
    if name not in paths:
        raise InputError(f"preprocess={name!r} is not an image path of this reward. Give one of {', '.join(paths)}.")
    return paths[name]


@lru_cache(maxsize=64)
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=torch.float32).view(3, 1, 1)
