"""Qwen-Image: masked tokens of a vision-language model, latents packed into tokens of 2 x 2, guidance rescaled to the text branch's norm.

Source: Qwen-Image (arXiv 2508.02324); the calls of diffusers' `QwenImagePipeline`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.flux import packed, unpacked
from tta_plugins.backbones.guidance import renormalised
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone
from tta_plugins.backbones.time_shift import even_sigmas, mu
from tta_plugins.backbones.token_lists import lengthened, trimmed
from tta_plugins.backbones.versions import check_masks_are_used

CITATION = """@misc{wu2025qwenimage,
  title = {{Qwen-Image} Technical Report},
  author = {Wu, Chenfei and others},
  year = {2025},
  eprint = {2508.02324},
  archivePrefix = {arXiv}
}"""


@frozen
class QwenImage:
    """The family of `QwenImagePipeline`. Its `guidance` is the pipeline's `true_cfg_scale`, with or without a negative prompt."""

    max_sequence_length: int = 512
    traits: Traits = Traits(packing=4, steps=50, guidance=4.0, branches="apart", tells_guidance=False)

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> Timing:
        """Even sigmas from 1 to 1 / steps, and the shift of time."""
        return partial(_timing, pipeline)

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The language model's last hidden state after its instruction, padded to one length."""
        tokens, mask = pipeline.encode_prompt(list(prompts), device=device, max_sequence_length=self.max_sequence_length)
        return lengthened(tokens, mask, self.max_sequence_length)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding; without one, that of a blank, as in the model's own examples."""
        return self.encode(pipeline, [prompt or " " for prompt in prompts], size, device)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens without common padding, and their mask if rows differ in length."""
        tokens, mask = trimmed(embedding)
        return {"encoder_hidden_states": tokens, "encoder_hidden_states_mask": mask}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens and their mask."""
        tokens, mask = conditioning["encoder_hidden_states"], conditioning["encoder_hidden_states_mask"]
        return lengthened(tokens, mask, self.max_sequence_length)

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x as tokens, and its size in tokens; the time is sigma."""
        return {
            "hidden_states": packed(x),
            "timestep": at_time(x, time).to(x.dtype) / 1000,
            "guidance": None,
            "img_shapes": [[(1, x.shape[2] // 2, x.shape[3] // 2)]] * x.shape[0],
        }

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return unpacked(arguments["hidden_states"], arguments["img_shapes"][0][0][1])

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The transformer's output, a velocity, as latents."""
        return unpacked(raw, x.shape[2] // 2)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance, rescaled to the norm of the text branch for each token."""
        return unpacked(renormalised(packed(text), packed(null), guidance), text.shape[2] // 2)


def qwen_image(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    max_sequence_length: int = 512,
) -> PipelineBackbone:
    """A `QwenImagePipeline`, or one that inherits from it."""
    check_masks_are_used(pipeline)
    return backbone(pipeline, QwenImage(max_sequence_length), steps, guidance, rewards)


def _timing(pipeline: Pipeline, steps: int, shape: tuple[int, int, int]) -> Mapping[str, object]:
    return {"sigmas": even_sigmas(steps), "mu": mu(pipeline, shape, 2, 1.15)}
