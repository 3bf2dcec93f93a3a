"""The node that samples images that score higher, and plain images from the same noise."""

from typing import Any

import torch
from torch import Tensor

import tta_core
from tta_core import Backbone, Images, Method, Reward
from tta_core.errors import InputError
from tta_core.values import strict_json

from .comfyui_run import comfyui_run, make_room

LARGEST_SEED = 2**63 - 1


class Align:
    """Runs `tta_core.align` on n samples of one prompt."""

    CATEGORY = "tta-align"
    DESCRIPTION = "Samples images that score higher, and plain images from the same noise."
    RETURN_TYPES = ("IMAGE", "IMAGE", "STRING")
    RETURN_NAMES = ("aligned", "baseline", "record")
    OUTPUT_TOOLTIPS = ("the aligned images", "plain samples from the same noise", "scores, cost, settings and versions, as JSON")
    FUNCTION = "align"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """The parts and the arguments of the run; 0 and an empty text mean the backbone's defaults."""
        size = {"default": 0, "min": 0, "max": 16384, "step": 8, "tooltip": "pixels; 0: the backbone's"}
        seed = {"default": 0, "min": 0, "max": LARGEST_SEED, "control_after_generate": True}
        return {
            "required": {
                "backbone": ("TTA_BACKBONE",),
                "method": ("TTA_METHOD",),
                "reward": ("TTA_REWARD",),
                "prompt": ("STRING", {"default": "a red circle and a blue square", "multiline": True}),
                "seed": ("INT", seed),
                "steps": ("INT", {"default": 0, "min": 0, "max": 10000, "tooltip": "0: the backbone's"}),
                "n": ("INT", {"default": 1, "min": 1, "max": 64, "tooltip": "the number of images, each from its own noise"}),
            },
            "optional": {
                "negative": ("STRING", {"default": "", "multiline": True}),
                "guidance": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.5, "tooltip": "0: the backbone's; 1: none"}),
                "width": ("INT", size),
                "height": ("INT", size),
                "memory": ("STRING", {"default": "", "tooltip": "policies (`tta list memory`) separated by commas, or a size: 16GB"}),
                "seconds": (
                    "FLOAT",
                    {"default": 0.0, "min": 0.0, "max": 1e9, "tooltip": "stop after this time with the best so far; 0: never"},
                ),
                "preview": ("BOOLEAN", {"default": True, "tooltip": "decode the first image at every step"}),
            },
        }

    def align(
        self,
        backbone: Backbone,
        method: Method,
        reward: Reward,
        prompt: str,
        seed: int,
        steps: int,
        n: int,
        negative: str = "",
        guidance: float = 0.0,
        width: int = 0,
        height: int = 0,
        memory: str = "",
        seconds: float = 0.0,
        preview: bool = True,
    ) -> tuple[Tensor, Tensor, str]:
        """Aligned and plain images in ComfyUI's layout, `(n, H, W, 3)` in [0, 1], and the record as JSON.

        Raises:
            TTAError: an argument is invalid, or the run failed.
        """
        if n < 1:
            raise InputError(f"n must be at least 1, but is {n}.")
        if backbone.device.type != "cpu":
            make_room()
        with torch.inference_mode(False), comfyui_run(backbone, preview) as run:
            alignment = tta_core.align(
                [prompt] * n,
                backbone=run.backbone,
                method=method,
                reward=reward,
                memory=[name.strip() for name in memory.split(",") if name.strip()],
                seed=seed,
                steps=steps or None,
                guidance=guidance or None,
                negative=negative or None,
                height=height or None,
                width=width or None,
                budget=tta_core.Budget(seconds=seconds) if seconds else None,
                observers=run.observers,
            )
            assert alignment.baseline is not None
            return _layout(alignment.result.pixels), _layout(alignment.baseline.pixels), strict_json.dumps(alignment.record())


def _layout(pixels: Images) -> Tensor:
    return pixels.detach().float().cpu().permute(0, 2, 3, 1).contiguous()
