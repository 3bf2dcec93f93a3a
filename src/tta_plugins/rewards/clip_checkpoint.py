"""Reads a CLIP model's checkpoint from a folder, the hub or a loaded model, and builds its two towers."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import attrs
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from tta_core.errors import LoadError
from tta_plugins.rewards.preprocessing import CLIP_MEAN, CLIP_STD, ImagePath, Pixels
from tta_plugins.rewards.preprocessor import normalisation
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import build, read_state, refuse

WEIGHTS = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "model.fp16.safetensors",
    "pytorch_model.fp16.bin",
)


@attrs.frozen(repr=False, eq=False)
class Checkpoint:
    """A CLIP model before it is built: its configuration, its tensors under Hugging Face's keys, and their source."""

    config: CLIPConfig
    state: Mapping[str, Tensor]
    source: str
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def image_tower(self) -> CLIPVisionModelWithProjection:
        """Vision model and projection; its `image_embeds` have width `projection_dim`."""
        config = deepcopy(self.config.vision_config)
        config.projection_dim = self.config.projection_dim
        return build(lambda: CLIPVisionModelWithProjection(config), self._part("vision_model.", "visual_projection."), self.source)

    def text_tower(self) -> CLIPTextModelWithProjection:
        """Text model and projection; its `text_embeds` have the same width."""
        config = deepcopy(self.config.text_config)
        config.projection_dim = self.config.projection_dim
        return build(lambda: CLIPTextModelWithProjection(config), self._part("text_model.", "text_projection."), self.source)

    def pixels(self, path: ImagePath) -> Pixels:
        """The preprocessing of images for the image tower, with that image path."""
        return Pixels(path, self.config.vision_config.image_size, self.mean, self.std)

    @property
    def temperature(self) -> float:
        """exp(logit_scale), the factor of CLIP's cosine: at most 100. Raises `LoadError` if it is not one number."""
        scale = self.state["logit_scale"]
        if scale.numel() != 1:
            raise LoadError(f"{self.source}: logit_scale has shape {tuple(scale.shape)}, but it is one number. Download the file again.")
        return float(scale.exp())

    def _part(self, *prefixes: str) -> dict[str, Tensor]:
        return {key: value for key, value in self.state.items() if key.startswith(prefixes) and not key.endswith(".position_ids")}


def open_checkpoint(weights: Where | CLIPModel) -> Checkpoint:
    """Read a `from_pretrained` folder or hub id as float32, or use a loaded model's tensors (same memory, its dtype, its device).

    Mean and standard deviation are those of preprocessor_config.json, or CLIP's for a folder without that file and for a loaded model.
    """
    if isinstance(weights, CLIPModel):
        return Checkpoint(weights.config, weights.state_dict(), f"a loaded CLIPModel ({weights.config.name_or_path or 'unnamed'})")
    if Path(weights).is_file():
        raise LoadError(f"{weights} is a file, but a CLIP model is a folder with config.json and its weights. Give the folder.")
    file, config = find(weights, WEIGHTS), find(weights, ("config.json",))
    state, source = read_state(file), provenance(weights, file)
    known = ("vision_model.", "visual_projection.", "text_model.", "text_projection.", "logit_scale")
    refuse({"logit_scale"} - state.keys(), {key for key in state if not key.startswith(known)}, source, "CLIPModel")
    return Checkpoint(_config(config), state, source, *normalisation(weights, CLIP_MEAN, CLIP_STD))


def _config(file: Path) -> CLIPConfig:
    try:
        return CLIPConfig.from_pretrained(file)
    except Exception as error:
        raise LoadError(f"{file} cannot be read as CLIP's configuration: {type(error).__name__}: {error}. Download it again.") from error
