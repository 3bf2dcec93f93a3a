"""Lumina-Image 2.0: Gemma's tokens with a mask, time from 0 to 1, and guidance rescaled to the text branch's norm.

Source: Lumina-Image 2.0 (arXiv 2503.21758); the calls of diffusers' `Lumina2Pipeline`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.guidance import renormalised
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone
from tta_plugins.backbones.time_shift import even_sigmas, shift_at

CITATION = """@misc{qin2025lumina2,
  title = {{Lumina-Image} 2.0: A Unified and Efficient Image Generative Framework},
  author = {Qin, Qi and Zhuo, Le and others},
  year = {2025},
  eprint = {2503.21758},
  archivePrefix = {arXiv}
}"""


@frozen
class Lumina2:
    """The family of `Lumina2Pipeline`.

    Attributes:
        normalise: whether guidance keeps the norm of the text branch, for each row of pixels; the pipeline's `cfg_normalization`.
        null_mask: as for `PixArt`: "keep", or "full" for gradients in every row of the null embedding.
    """

    max_sequence_length: int = 256
    normalise: bool = True
    null_mask: Literal["keep", "full"] = "keep"
    traits: Traits = Traits(steps=30, guidance=4.0, branches="apart")

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> Timing:
        """Even sigmas from 1 to 1 / steps, and the shift of time that the pipeline computes from the number of *channels*."""
        return partial(_timing, pipeline)

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """Gemma's second-to-last hidden state for the pipeline's system prompt and the prompt, and its mask."""
        tokens, mask, _, _ = pipeline.encode_prompt(list(prompts), False, device=device, max_sequence_length=self.max_sequence_length)
        return Embedding(tokens, mask=mask)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding, without the system prompt; without one, that of the empty text."""
        negatives = [prompt or "" for prompt in prompts]
        _, _, tokens, mask = pipeline.encode_prompt(negatives, True, negatives, device=device, max_sequence_length=self.max_sequence_length)
        return Embedding(tokens, mask=mask if self.null_mask == "keep" else torch.ones_like(mask))

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens and their mask."""
        return {"encoder_hidden_states": embedding.tokens, "encoder_attention_mask": embedding.mask}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens and their mask."""
        return Embedding(conditioning["encoder_hidden_states"], mask=conditioning["encoder_attention_mask"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x and the time, which is 1 - sigma."""
        return {"hidden_states": x, "timestep": 1 - at_time(x, time) / 1000}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["hidden_states"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The velocity from clean latents to noise; the transformer's output has the opposite sign."""
        return -raw

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance, rescaled to the norm of the text branch if `normalise`."""
        return (renormalised if self.normalise else classifier_free)(text, null, guidance)


def lumina2(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    null_mask: Literal["keep", "full"] = "keep",
    normalise: bool = True,
    max_sequence_length: int = 256,
) -> PipelineBackbone:
    """A `Lumina2Pipeline`, or one that inherits from it."""
    return backbone(pipeline, Lumina2(max_sequence_length, normalise, null_mask), steps, guidance, rewards)


def _timing(pipeline: Pipeline, steps: int, shape: tuple[int, int, int]) -> Mapping[str, object]:
    return {"sigmas": even_sigmas(steps), "mu": shift_at(pipeline, shape[0], 1.15)}
