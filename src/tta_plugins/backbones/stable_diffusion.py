"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a U-Net that predicts the noise or v.

Source: latent diffusion (arXiv 2112.10752); the calls of diffusers' `StableDiffusionPipeline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tta_core._typing import Latents, frozen
from tta_core.controls import Embedding
from tta_plugins.backbones import unet
from tta_plugins.backbones.family import Pipeline, Size
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone


@frozen
class StableDiffusion:
    """The family of `StableDiffusionPipeline`."""

    denoiser: str = "unet"
    patch: int = 1
    steps: int = 50
    guidance: float = 7.5
    has_null: bool = True
    packs: bool = False

    def side(self, pipeline: Pipeline) -> int:
        """512 or 768 pixels: the U-Net's sample size."""
        return unet.side(pipeline)

    def channels(self, pipeline: Pipeline) -> int:
        """As many as the U-Net takes."""
        return int(pipeline.unet.config.in_channels)

    def timing(self, pipeline: Pipeline) -> None:
        """The number of steps alone."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The last hidden state of the text encoder."""
        tokens, _ = pipeline.encode_prompt(list(prompts), device, 1, False)
        return Embedding(tokens)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding; no negative prompt is the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens."""
        return {"encoder_hidden_states": embedding.tokens}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens."""
        return Embedding(conditioning["encoder_hidden_states"])

    def predict(self, pipeline: Pipeline, x: Latents, time: float, embedding: Embedding) -> Latents:
        """The U-Net's output."""
        return pipeline.unet(x, time, **self.conditioning(embedding), return_dict=False)[0]


def stable_diffusion(
    pipeline: Pipeline, *, steps: int | None = None, guidance: float | None = None, rewards: Mapping[str, str] | None = None
) -> PipelineBackbone:
    """A `StableDiffusionPipeline`, or one that inherits from it. Raises `IncompatibleError` where its U-Net needs more than text."""
    unet.check(pipeline)
    return backbone(pipeline, StableDiffusion(), steps, guidance, rewards)
