"""Converts an image to the patches of Qwen's vision towers: resizes it to whole patches, normalises and splits it. Differentiable.

Source: Qwen2-VL (arXiv 2409.12191); equal to transformers' `Qwen2VLImageProcessor` to the last bit if nothing is resized.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tta_core.errors import IncompatibleError
from tta_core.values.typing import frozen
from tta_plugins.rewards.preprocessing import CLIP_MEAN, CLIP_STD
from tta_plugins.rewards.preprocessor import Triple, mean_and_std, preprocessor
from tta_plugins.rewards.resize import resize, resize_pillow
from tta_plugins.rewards.weight_files import Where

Path_ = Literal["diff", "official"]


@frozen
class QwenPixels:
    """Sides become multiples of patch * merge, and their product lies between `least` and `most` pixels, at nearly the same aspect ratio.

    path: *official*: 8-bit, Pillow's bicubic; *diff*: float, antialiased bicubic, clamped.
    """

    path: Path_ = "diff"
    patch: int = 14
    merge: int = 2
    frames: int = 2
    least: int = 56 * 56
    most: int = 28 * 28 * 1280
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD

    def __call__(self, image: Float[Tensor, "3 H W"]) -> tuple[Float[Tensor, "patches d"], Int[Tensor, "1 3"]]:
        """The patches in the order of the merged grid, and the grid (frames, rows, columns)."""
        size = self.size(*image.shape[1:])
        whole = resize_pillow(image[None], size) if self.path == "official" else resize(image[None], size).clamp(0, 1)
        mean, std = (torch.tensor(values, dtype=torch.float32, device=image.device).view(3, 1, 1) for values in (self.mean, self.std))
        rows, columns = size[0] // self.patch, size[1] // self.patch
        block = (3, rows // self.merge, self.merge, self.patch, columns // self.merge, self.merge, self.patch)
        cut = ((whole[0] - mean) / std).reshape(block).permute(1, 4, 2, 5, 0, 3, 6)
        repeated = cut.unsqueeze(5).expand(*cut.shape[:5], self.frames, *cut.shape[5:])
        return repeated.reshape(rows * columns, -1), torch.tensor([[1, rows, columns]])

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the resized image. Raises `IncompatibleError` for an aspect ratio above 200."""
        if max(height, width) > 200 * min(height, width):
            raise IncompatibleError(
                f"Cannot use Qwen with images of {height} x {width} pixels. This is because it takes aspect ratios up to 200. Crop them."
            )
        factor = self.patch * self.merge
        new = [round(side / factor) * factor for side in (height, width)]
        if math.prod(new) > self.most:
            shrink = math.sqrt(height * width / self.most)
            new = [max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width)]
        elif math.prod(new) < self.least:
            grow = math.sqrt(self.least / (height * width))
            new = [math.ceil(side * grow / factor) * factor for side in (height, width)]
        return new[0], new[1]


def pixels_beside(weights: Where, path: Path_) -> QwenPixels:
    """The settings of the weights' preprocessor_config.json. Raises `LoadError` if it is missing or damaged."""
    with preprocessor(weights) as settings:
        size = settings.get("size", {})
        return QwenPixels(
            path,
            settings["patch_size"],
            settings["merge_size"],
            settings["temporal_patch_size"],
            settings.get("min_pixels") or size["shortest_edge"],
            settings.get("max_pixels") or size["longest_edge"],
            *mean_and_std(settings),
        )
