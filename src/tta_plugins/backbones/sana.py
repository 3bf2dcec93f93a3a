"""Sana: Gemma's tokens with a mask, and a linear transformer over latents of an autoencoder that downsamples by 32.

Source: Sana (arXiv 2410.10629); the calls of diffusers' `SanaPipeline`.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.modules import inside
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = """@inproceedings{xie2025sana,
  title = {{SANA}: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers},
  author = {Xie, Enze and Chen, Junsong and Chen, Junyu and Cai, Han and Tang, Haotian and Lin, Yujun and Zhang,
            Zhekai and Li, Muyang and Zhu, Ligeng and Lu, Yao and Han, Song},
  booktitle = {International Conference on Learning Representations},
  year = {2025},
  eprint = {2410.10629},
  archivePrefix = {arXiv}
}"""


@frozen
class Sana:
    """The family of `SanaPipeline`. Sizes are not changed to the nearest of the pipeline's bins, and captions are not cleaned.

    Attributes:
        time_scale: the factor on times from the transformer's configuration.
        null_mask: as for `PixArt`: "keep", or "full" for gradients in every row of the null embedding.
    """

    max_sequence_length: int = 300
    time_scale: float = 1.0
    null_mask: Literal["keep", "full"] = "keep"
    traits: Traits = Traits(patch=1, steps=20, guidance=4.5, positional=("hidden_states",))

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels: the transformer's sample size."""
        denoiser: Any = inside(pipeline.transformer)
        return int(denoiser.config.sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> None:
        """None: the pipeline passes only the number of steps."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """Gemma's tokens of the pipeline's instruction followed by the prompt, and their mask."""
        instruction = inspect.signature(type(pipeline).__call__).parameters["complex_human_instruction"].default
        return self._encoded(pipeline, prompts, device, instruction)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding, without the instruction; without one, that of the empty text."""
        null = self._encoded(pipeline, [prompt or "" for prompt in prompts], device, None)
        return null if null.mask is None or self.null_mask == "keep" else evolve(null, mask=torch.ones_like(null.mask))

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens and their mask."""
        return {"encoder_hidden_states": embedding.tokens, "encoder_attention_mask": embedding.mask}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens and their mask."""
        return Embedding(conditioning["encoder_hidden_states"], mask=conditioning["encoder_attention_mask"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x and the time, in the transformer's scale."""
        return {"hidden_states": x, "timestep": at_time(x, time) * self.time_scale}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["hidden_states"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The predicted velocity; a learned variance in further channels, if there is one, is not used."""
        return raw[:, : x.shape[1]]

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)

    def _encoded(self, pipeline: Pipeline, prompts: Sequence[str], device: torch.device, instruction: object) -> Embedding:
        tokens, mask, _, _ = pipeline.encode_prompt(
            list(prompts), False, device=device, max_sequence_length=self.max_sequence_length, complex_human_instruction=instruction
        )
        return Embedding(tokens, mask=mask)


def sana(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    null_mask: Literal["keep", "full"] = "keep",
    max_sequence_length: int = 300,
) -> PipelineBackbone:
    """A `SanaPipeline`, or one that inherits from it."""
    denoiser: Any = inside(pipeline.transformer)
    traits = evolve(Sana().traits, patch=denoiser.config.patch_size)
    family = Sana(max_sequence_length, float(denoiser.config.get("timestep_scale", 1.0)), null_mask, traits)
    return backbone(pipeline, family, steps, guidance, rewards)
