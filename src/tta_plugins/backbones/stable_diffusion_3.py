"""Stable Diffusion 3 and 3.5: two CLIP text encoders and, if loaded, T5; a transformer trained by flow matching.

Source: Stable Diffusion 3 (arXiv 2403.03206); the calls of diffusers' `StableDiffusion3Pipeline`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone
from tta_plugins.backbones.time_shift import mu

CITATION = r"""@inproceedings{esser2024sd3,
  title = {Scaling Rectified Flow Transformers for High-Resolution Image Synthesis},
  author = {Esser, Patrick and Kulal, Sumith and Blattmann, Andreas and Entezari, Rahim and M{\"u}ller, Jonas and
            Saini, Harry and Levi, Yam and Lorenz, Dominik and Sauer, Axel and Boesel, Frederic and Podell, Dustin and
            Dockhorn, Tim and English, Zion and Rombach, Robin},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2403.03206},
  archivePrefix = {arXiv}
}"""


@frozen
class StableDiffusion3:
    """The family of `StableDiffusion3Pipeline`. `max_sequence_length` is the number of T5's tokens."""

    max_sequence_length: int = 256
    traits: Traits = Traits(steps=28, guidance=7.0)

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels: the transformer's sample size."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> Timing:
        """The shift of time, if the scheduler takes one."""
        return partial(_timing, pipeline, self.traits.patch)

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The concatenated tokens of the encoders, and both pooled vectors."""
        tokens, _, pooled, _ = pipeline.encode_prompt(
            list(prompts),
            None,
            None,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )
        return Embedding(tokens, pooled.to(tokens.dtype))

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding; without one, that of the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens and the pooled vector."""
        return {"encoder_hidden_states": embedding.tokens, "pooled_projections": embedding.pooled}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens and the pooled vector."""
        return Embedding(conditioning["encoder_hidden_states"], conditioning["pooled_projections"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x and the scheduler's time, 1000 sigma."""
        return {"hidden_states": x, "timestep": at_time(x, time)}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["hidden_states"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The transformer's output, a velocity, unchanged."""
        return raw

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)


def stable_diffusion_3(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    max_sequence_length: int = 256,
) -> PipelineBackbone:
    """A `StableDiffusion3Pipeline`, or one that inherits from it."""
    family = StableDiffusion3(max_sequence_length, evolve(StableDiffusion3().traits, patch=pipeline.transformer.config.patch_size))
    return backbone(pipeline, family, steps, guidance, rewards)


def _timing(pipeline: Pipeline, patch: int, steps: int, shape: tuple[int, int, int]) -> Mapping[str, object]:
    return {"mu": mu(pipeline, shape, patch, 1.16)} if pipeline.scheduler.config.get("use_dynamic_shifting") else {}
