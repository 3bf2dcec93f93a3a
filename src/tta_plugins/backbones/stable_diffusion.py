"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a U-Net that predicts the noise or v.

Source: latent diffusion (arXiv 2112.10752); the calls of diffusers' `StableDiffusionPipeline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, frozen
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
    upcasts: bool = False

    def side(self, pipeline: Pipeline) -> int:
        """512 or 768 pixels: the U-Net's sample size."""
        return unet.side(pipeline)

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

    def shown(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x and the time."""
        return {"sample": x, "timestep": time}

    def seen(self, arguments: Mapping[str, Any]) -> Tensor:
        """x."""
        return arguments["sample"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The U-Net's output as it is."""
        return raw


def stable_diffusion(
    pipeline: Pipeline, *, steps: int | None = None, guidance: float | None = None, rewards: Mapping[str, str] | None = None
) -> PipelineBackbone:
    """A `StableDiffusionPipeline`, or one that inherits from it."""
    return backbone(pipeline, StableDiffusion(), steps, guidance, rewards)
