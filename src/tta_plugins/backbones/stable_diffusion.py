"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a U-Net that predicts the noise or v.

Source: latent diffusion (arXiv 2112.10752); the calls of diffusers' `StableDiffusionPipeline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, frozen
from tta_plugins.backbones import unet
from tta_plugins.backbones.clip_skip import checked, with_text_model
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.guidance import rescaled
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = r"""@inproceedings{rombach2022ldm,
  title = {High-Resolution Image Synthesis with Latent Diffusion Models},
  author = {Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and Ommer, Bj{\"o}rn},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2022},
  eprint = {2112.10752},
  archivePrefix = {arXiv}
}"""


@frozen
class StableDiffusion:
    """The family of `StableDiffusionPipeline`.

    Attributes:
        rescale: the share of the guided output that is rescaled to the text branch's size; the pipeline's `guidance_rescale`.
        embedded: the embedding `(1, d)` of the guidance for a distilled U-Net (LCM); None for a U-Net without such an input.
        skip: the number of last layers of the text encoder that are left out; the pipeline's `clip_skip`.
    """

    rescale: float = 0.0
    embedded: Tensor | None = attrs.field(default=None, eq=False, repr=False)
    skip: int | None = None
    traits: Traits = Traits(denoiser="unet", patch=1, steps=50, guidance=7.5, positional=("sample", "timestep"))

    def side(self, pipeline: Pipeline) -> int:
        """512 or 768 pixels: the U-Net's sample size."""
        return unet.side(pipeline)

    def timing(self, pipeline: Pipeline) -> None:
        """None: the pipeline passes only the number of steps."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The last hidden state of the text encoder."""
        encoding = pipeline if self.skip is None else with_text_model(pipeline)
        tokens, _ = encoding.encode_prompt(list(prompts), device, 1, False, clip_skip=self.skip)
        return Embedding(tokens)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding | None:
        """The negative prompt's embedding; without one, that of the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device) if self.traits.has_null else None

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens."""
        return {"encoder_hidden_states": embedding.tokens}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens."""
        return Embedding(conditioning["encoder_hidden_states"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x, the time, and the embedded guidance, if there is one."""
        return {"sample": x, "timestep": at_time(x, time), **unet.embedded(self.embedded, x)}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["sample"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The U-Net's output, unchanged."""
        return raw

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return rescaled(classifier_free(text, null, guidance), text, self.rescale)


def stable_diffusion(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    guidance_rescale: float = 0.0,
    embedded_guidance: float = 7.5,
    clip_skip: int | None = None,
) -> PipelineBackbone:
    """A `StableDiffusionPipeline`, or one that inherits from it. `embedded_guidance` is the guidance input of an LCM's U-Net."""
    embedded = unet.guidance_embedding(pipeline, embedded_guidance)
    traits = unet.without_null(StableDiffusion().traits, embedded)
    skip = checked(clip_skip, pipeline, "text_encoder")
    return backbone(pipeline, StableDiffusion(guidance_rescale, embedded, skip, traits), steps, guidance, rewards)
