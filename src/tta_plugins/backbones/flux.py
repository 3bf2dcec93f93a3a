"""FLUX.1 dev and schnell: T5 tokens and CLIP's pooled vector, latents packed into tokens of 2 x 2, guidance distilled into the network.

Source: the calls of diffusers' `FluxPipeline`; there is no paper of FLUX.1.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone
from tta_plugins.backbones.time_shift import even_sigmas, mu

CITATION = """@misc{blackforestlabs2024flux,
  title = {{FLUX}.1},
  author = {{Black Forest Labs}},
  year = {2024},
  url = {https://github.com/black-forest-labs/flux}
}"""


@frozen
class Flux:
    """The family of `FluxPipeline`.

    Attributes:
        embedded: the guidance that is an input of dev's network; None for schnell, whose network has no such input.
    """

    embedded: float | None = 3.5
    max_sequence_length: int = 512
    traits: Traits = Traits(packing=4, has_null=False, branches="apart", tells_guidance=False)

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> Timing:
        """Even sigmas from 1 to 1 / steps, and the shift of time."""
        return partial(_timing, pipeline)

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """T5's tokens and CLIP's pooled vector."""
        tokens, pooled, _ = pipeline.encode_prompt(
            list(prompts), prompt_2=None, device=device, max_sequence_length=self.max_sequence_length
        )
        return Embedding(tokens, pooled.to(tokens.dtype))

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding | None:
        """The embedding of the negative prompt, or of the empty text without one; None without an unconditional branch."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device) if self.traits.has_null else None

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens, all at position 0, and the pooled vector."""
        positions = torch.zeros(embedding.tokens.shape[1], 3, device=embedding.tokens.device, dtype=embedding.tokens.dtype)
        return {"encoder_hidden_states": embedding.tokens, "pooled_projections": embedding.pooled, "txt_ids": positions}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens and the pooled vector."""
        return Embedding(conditioning["encoder_hidden_states"], conditioning["pooled_projections"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x as tokens, their positions, the time, which is sigma, and the embedded guidance, if there is one."""
        return {
            "hidden_states": packed(x),
            "timestep": at_time(x, time).to(x.dtype) / 1000,
            "guidance": None if self.embedded is None else at_time(x, self.embedded),
            "img_ids": positions(x),
        }

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x; its height follows from the positions."""
        return unpacked(arguments["hidden_states"], int(arguments["img_ids"][:, 1].max()) + 1)

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The transformer's output, a velocity, as latents."""
        return unpacked(raw, x.shape[2] // 2)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)


def flux(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    embedded_guidance: float = 3.5,
    true_guidance: bool = False,
    max_sequence_length: int = 512,
) -> PipelineBackbone:
    """A `FluxPipeline`, or one that inherits from it.

    `true_guidance` adds an unconditional branch, which the distilled network does not need, so that `guidance` and null embeddings have an
    effect; dev's own guidance is always `embedded_guidance`.
    """
    dev = pipeline.transformer.config.guidance_embeds
    own = {"steps": 28 if dev else 4, "has_null": true_guidance, "guidance": 4.0 if true_guidance else 1.0}
    family = Flux(embedded_guidance if dev else None, max_sequence_length, evolve(Flux().traits, **own))
    return backbone(pipeline, family, steps, guidance, rewards)


def packed(x: Latents) -> Tensor:
    """2 x 2 latent pixels to one token, channels slowest: `(b, tokens, 4 c)`."""
    return rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def unpacked(tokens: Tensor, height: int) -> Latents:
    """The inverse of `packed`; `height` in tokens."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=height, p=2, q=2)


def positions(x: Latents) -> Tensor:
    """(0, row, column) of each token."""
    rows, columns = torch.meshgrid(torch.arange(x.shape[2] // 2), torch.arange(x.shape[3] // 2), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).to(x)


def _timing(pipeline: Pipeline, steps: int, shape: tuple[int, int, int]) -> Mapping[str, object]:
    config = pipeline.scheduler.config
    shift = {"mu": mu(pipeline, shape, 2, 1.15)} if config.get("use_dynamic_shifting") else {}
    return shift if config.get("use_flow_sigmas") else {"sigmas": even_sigmas(steps), **shift}
