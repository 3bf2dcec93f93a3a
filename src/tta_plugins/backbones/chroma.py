"""Chroma: FLUX.1 without the pooled vector and the embedded guidance, with a mask of T5's tokens and an unconditional branch.

Source: the calls of diffusers' `ChromaPipeline`; there is no paper of Chroma.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.flux import Flux, packed, positions, unpacked
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = """@misc{lodestones2025chroma,
  title = {{Chroma}},
  author = {{lodestones}},
  year = {2025},
  url = {https://huggingface.co/lodestones/Chroma}
}"""

_IMAGE = "live tokens of the image"


@frozen
class Chroma:
    """The family of `ChromaPipeline`.

    The transformer takes one mask for the tokens of text and image. It is 1 for the tokens of the prompt and for one token of padding.
    """

    max_sequence_length: int = 512
    traits: Traits = Traits(packing=4, steps=35, guidance=5.0, branches="apart")

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> Timing:
        """The same as for FLUX.1: even sigmas from 1 to 1 / steps, and the shift of time."""
        return Flux().timing(pipeline)

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """T5's tokens and their mask."""
        tokens, _, mask, _, _, _ = pipeline.encode_prompt(
            list(prompts), device=device, do_classifier_free_guidance=False, max_sequence_length=self.max_sequence_length
        )
        side = 2 * int(pipeline.vae_scale_factor)
        image = torch.ones(len(prompts), (size[0] // side) * (size[1] // side), device=tokens.device)
        return Embedding(tokens, mask=mask.long(), extra={_IMAGE: image})

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding; without one, that of the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens, all at position 0, and the mask of all tokens."""
        tokens = embedding.tokens
        inputs = {"encoder_hidden_states": tokens, "txt_ids": torch.zeros(tokens.shape[1], 3, device=tokens.device, dtype=tokens.dtype)}
        if embedding.mask is None:
            return {**inputs, "attention_mask": None}
        return {**inputs, "attention_mask": torch.cat([embedding.mask.to(tokens.dtype), embedding.extra[_IMAGE].to(tokens.dtype)], dim=1)}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens and the two parts of the mask."""
        tokens, mask = conditioning["encoder_hidden_states"], conditioning["attention_mask"]
        if mask is None:
            return Embedding(tokens)
        return Embedding(tokens, mask=mask[:, : tokens.shape[1]].long(), extra={_IMAGE: mask[:, tokens.shape[1] :]})

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x as tokens, their positions, and the time, which is sigma."""
        return {"hidden_states": packed(x), "timestep": at_time(x, time).to(x.dtype) / 1000, "img_ids": positions(x)}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x; its height follows from the positions."""
        return unpacked(arguments["hidden_states"], int(arguments["img_ids"][:, 1].max()) + 1)

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The transformer's output, a velocity, as latents."""
        return unpacked(raw, x.shape[2] // 2)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)


def chroma(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    max_sequence_length: int = 512,
) -> PipelineBackbone:
    """A `ChromaPipeline`, or one that inherits from it."""
    return backbone(pipeline, Chroma(max_sequence_length), steps, guidance, rewards)
