"""Stable Diffusion XL: two text encoders, a pooled vector, and the image's size as an input of the U-Net.

Source: SDXL (arXiv 2307.01952); the calls of diffusers' `StableDiffusionXLPipeline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones import unet
from tta_plugins.backbones.clip_skip import checked
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time, required
from tta_plugins.backbones.guidance import rescaled
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = r"""@inproceedings{podell2024sdxl,
  title = {{SDXL}: Improving Latent Diffusion Models for High-Resolution Image Synthesis},
  author = {Podell, Dustin and English, Zion and Lacey, Kyle and Blattmann, Andreas and Dockhorn, Tim and M{\"u}ller,
            Jonas and Penna, Joe and Rombach, Robin},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2307.01952},
  archivePrefix = {arXiv}
}"""


@frozen
class StableDiffusionXL:
    """The family of `StableDiffusionXLPipeline`. The fields are those of `StableDiffusion`, except for `encoding`.

    Attributes:
        encoding: other arguments of the pipeline's `encode_prompt`, such as `clip_skip`.
    """

    rescale: float = 0.0
    embedded: Tensor | None = attrs.field(default=None, eq=False, repr=False)
    encoding: Mapping[str, Any] = attrs.field(factory=dict)
    traits: Traits = Traits(denoiser="unet", patch=1, upcasts=True, steps=50, guidance=5.0, positional=("sample", "timestep"))

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels: the U-Net's sample size."""
        return unet.side(pipeline)

    def timing(self, pipeline: Pipeline) -> None:
        """None: the pipeline passes only the number of steps."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The second-to-last hidden states of the encoders, the pooled vector of the second encoder, and the size."""
        tokens, _, pooled, _ = pipeline.encode_prompt(
            list(prompts), device=device, num_images_per_prompt=1, do_classifier_free_guidance=False, **self.encoding
        )
        return Embedding(tokens, pooled.to(tokens.dtype), extra=_time_ids(pipeline, size, 6.0, tokens))

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding | None:
        """The negative prompt's embedding; without one, zeros, or that of the empty text if the pipeline is set so."""
        if not self.traits.has_null:
            return None
        null = self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)
        null = evolve(null, extra=_time_ids(pipeline, size, 2.5, null.tokens))
        if not pipeline.config.force_zeros_for_empty_prompt or null.pooled is None:
            return null
        given = torch.tensor([prompt is not None for prompt in prompts], device=null.tokens.device)
        return Embedding(_zeroed(null.tokens, given), _zeroed(null.pooled, given), extra=null.extra)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens, the pooled vector and the size."""
        return {
            "encoder_hidden_states": embedding.tokens,
            "added_cond_kwargs": {"text_embeds": embedding.pooled, "time_ids": required(embedding, "time_ids")},
        }

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens, the pooled vector and the size."""
        added = conditioning["added_cond_kwargs"]
        return Embedding(conditioning["encoder_hidden_states"], added["text_embeds"], extra={"time_ids": added["time_ids"]})

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


def stable_diffusion_xl(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    guidance_rescale: float = 0.0,
    embedded_guidance: float = 5.0,
    clip_skip: int | None = None,
) -> PipelineBackbone:
    """A `StableDiffusionXLPipeline`, or one that inherits from it. `embedded_guidance` is the guidance input of an LCM's U-Net."""
    embedded = unet.guidance_embedding(pipeline, embedded_guidance)
    traits = unet.without_null(StableDiffusionXL().traits, embedded)
    family = StableDiffusionXL(guidance_rescale, embedded, {"clip_skip": checked(clip_skip, pipeline, "text_encoder_2", 1)}, traits)
    return backbone(pipeline, family, steps, guidance, rewards)


def _time_ids(pipeline: Pipeline, size: Size, aesthetics: float, tokens: Tensor) -> Mapping[str, Tensor]:
    """The size inputs: original size, crop, target size. The refiner takes an aesthetic score, the pipeline's default, instead of the
    target."""
    last = (aesthetics,) if pipeline.config.get("requires_aesthetics_score") else size
    return {"time_ids": torch.tensor([[*size, 0, 0, *last]], dtype=tokens.dtype, device=tokens.device).repeat(tokens.shape[0], 1)}


def _zeroed(tensor: Tensor, kept: Tensor) -> Tensor:
    """The tensor with zeros in the rows that are not kept."""
    return tensor * kept.view(-1, *[1] * (tensor.dim() - 1)).to(tensor.dtype)
