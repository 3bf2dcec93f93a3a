"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a U-Net that predicts the noise or v.

Source: latent diffusion (arXiv 2112.10752); the calls of diffusers' `StableDiffusionPipeline`.
"""

from collections.abc import Mapping, Sequence

from tta_core._typing import Latents, frozen
from tta_core.controls import Embedding
from tta_core.errors import IncompatibleError
from tta_plugins.backbones.family import Pipeline
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone


@frozen
class StableDiffusion:
    """The family of `StableDiffusionPipeline`."""

    denoiser: str = "unet"
    steps: int = 50
    guidance: float = 7.5
    has_null: bool = True

    def side(self, pipeline: Pipeline) -> int:
        """512 or 768 pixels: the U-Net's sample size."""
        return unet_side(pipeline)

    def channels(self, pipeline: Pipeline) -> int:
        """4, or as many as the autoencoder has."""
        return pipeline.unet.config.in_channels

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The last hidden state of the text encoder."""
        tokens, _ = pipeline.encode_prompt(list(prompts), pipeline._execution_device, 1, False)
        return Embedding(tokens)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], height: int, width: int) -> Embedding:
        """The negative prompt's embedding; no negative prompt is the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], height, width)

    def predict(self, pipeline: Pipeline, x: Latents, time: float, embedding: Embedding) -> Latents:
        """The U-Net's output."""
        return pipeline.unet(x, time, encoder_hidden_states=embedding.tokens, return_dict=False)[0]


def stable_diffusion(
    pipeline: Pipeline, *, steps: int | None = None, guidance: float | None = None, rewards: Mapping[str, str] | None = None
) -> PipelineBackbone:
    """A `StableDiffusionPipeline`, or one that inherits from it. Raises `IncompatibleError` where its U-Net needs more than text."""
    check_unet(pipeline)
    return backbone(pipeline, StableDiffusion(), steps, guidance, rewards)


def unet_side(pipeline: Pipeline) -> int:
    """Pixels of the square that a U-Net was made for."""
    size = pipeline.unet.config.sample_size
    return int(size if isinstance(size, int) else size[0]) * int(pipeline.vae_scale_factor)


def check_unet(pipeline: Pipeline) -> None:
    """Raises `IncompatibleError` for a U-Net that is told more than x, the time and the text."""
    config, who = pipeline.unet.config, type(pipeline).__name__
    if config.in_channels != pipeline.vae.config.latent_channels:
        raise IncompatibleError(
            f"Cannot use {who} with a U-Net of {config.in_channels} input channels. This is because it is also shown a picture or a mask "
            f"(inpainting, editing), and the latents have {pipeline.vae.config.latent_channels}. Load a text-to-image checkpoint."
        )
    if config.time_cond_proj_dim is not None:
        raise IncompatibleError(
            f"Cannot use {who} with a guidance-distilled U-Net (LCM). This is because it has guidance as an input and no unconditional "
            "branch. Load the model that it was distilled from."
        )
    if config.encoder_hid_dim_type == "ip_image_proj":
        raise IncompatibleError(
            f"Cannot use {who} with an IP-Adapter. This is because its U-Net is also shown a picture's embedding. "
            "Call pipeline.unload_ip_adapter() first."
        )
