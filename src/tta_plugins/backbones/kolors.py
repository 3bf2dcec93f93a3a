"""Kolors: the U-Net of Stable Diffusion XL, with ChatGLM3 as its one text encoder.

Source: Kolors (https://github.com/Kwai-Kolors/Kolors); the calls of diffusers' `KolorsPipeline`.
"""

from collections.abc import Mapping

from tta_plugins.backbones import unet
from tta_plugins.backbones.family import Pipeline
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone
from tta_plugins.backbones.stable_diffusion_xl import StableDiffusionXL

CITATION = r"""@misc{kolors2024,
  title = {Kolors: Effective Training of Diffusion Model for Photorealistic Text-to-Image Synthesis},
  author = {{Kolors Team}},
  year = {2024},
  url = {https://github.com/Kwai-Kolors/Kolors}
}"""


def kolors(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    embedded_guidance: float = 5.0,
    max_sequence_length: int = 256,
) -> PipelineBackbone:
    """A `KolorsPipeline`, or one that inherits from it. `embedded_guidance` is the guidance input of an LCM's U-Net.

    The U-Net attends to all tokens of a prompt, padding included, and projects them from ChatGLM3's features to its own.
    """
    embedded = unet.guidance_embedding(pipeline, embedded_guidance)
    traits = unet.without_null(StableDiffusionXL().traits, embedded)
    family = StableDiffusionXL(0.0, embedded, {"max_sequence_length": max_sequence_length}, traits)
    return backbone(pipeline, family, steps, guidance, rewards)
