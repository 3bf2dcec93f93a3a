"""The node that loads a model."""

from typing import Any

import torch

from tta_core import Backbone
from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.plugins.discovery import plugins
from tta_plugins.cli.parts import placed

from .comfyui_run import make_room

FROM_SOURCE = "diffusers"


class LoadBackbone:
    """Loads a backbone by its registered name, or a pipeline in diffusers' layout from a folder or the hub."""

    CATEGORY = "tta-align"
    DESCRIPTION = "Loads the embedded model (shapes), a third-party backbone, or with 'diffusers' a folder or hub id."
    RETURN_TYPES = ("TTA_BACKBONE",)
    RETURN_NAMES = ("backbone",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """The backbone's name; with "diffusers", also the folder or hub id, the device and the dtype."""
        # backbones that adapt a pipeline's class are chosen by the class of the loaded pipeline
        names = [entry.name for entry in plugins().registry.entries("backbones") if not entry.pipelines]
        return {
            "required": {"name": (names, {"default": "shapes", "tooltip": "shapes is the embedded model"})},
            "optional": {
                "source": ("STRING", {"default": "", "tooltip": "with 'diffusers': a folder in diffusers' layout, or a hub id owner/name"}),
                "device": (["auto", "cpu", "cuda", "mps"], {"default": "auto", "tooltip": "with 'diffusers'; auto: cuda if available"}),
                "dtype": (["auto", "float32", "float16", "bfloat16"], {"default": "auto", "tooltip": "auto: bfloat16 on cuda"}),
            },
        }

    def load(self, name: str, source: str = "", device: str = "auto", dtype: str = "auto") -> tuple[Backbone]:
        """The backbone. Raises `TTAError` if it cannot be loaded, and `InputError` for settings that have no effect."""
        if (name == FROM_SOURCE) != bool(source.strip()):
            raise InputError(
                f"Cannot load the name {name!r} with the source {source!r}. This is because {FROM_SOURCE!r} needs a folder or hub id as "
                f"source, and the other names take none. Set name to {FROM_SOURCE!r}, or leave source empty."
            )
        chosen = [None if value == "auto" else value for value in (device, dtype)]
        with torch.inference_mode(False):  # weights that are loaded in inference mode cannot have gradients
            if name == FROM_SOURCE:
                make_room()
            return (resolve.backbone(placed(source.strip() or name, *chosen)),)
