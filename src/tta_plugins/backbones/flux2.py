"""FLUX.2 dev and Klein: hidden states of several layers of a language model, and latents normalised by the autoencoder's statistics.

Source: the calls of diffusers' `Flux2Pipeline` and `Flux2KleinPipeline`; there is no paper of FLUX.2.
"""

from collections.abc import Mapping, Sequence
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
from tta_plugins.backbones.time_shift import even_sigmas

CITATION = """@misc{blackforestlabs2025flux2,
  title = {{FLUX}.2},
  author = {{Black Forest Labs}},
  year = {2025},
  url = {https://github.com/black-forest-labs/flux2}
}"""


@frozen
class Flux2:
    """The family of `Flux2Pipeline` (dev) and `Flux2KleinPipeline`.

    Attributes:
        embedded: the guidance that is an input of dev's network; None for Klein, whose network has no such input.
        layers: the layers of the language model whose hidden states are the tokens' features; empty: the pipeline's default.
    """

    embedded: float | None = 4.0
    max_sequence_length: int = 512
    layers: tuple[int, ...] = ()
    traits: Traits = Traits(patch=1, steps=50, has_null=False, branches="apart", tells_guidance=False)

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> Timing:
        """Even sigmas from 1 to 1 / steps, and the shift of time at this size and number of steps."""
        return _timing

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The hidden states of some layers of the language model, concatenated along the features."""
        layers = {"text_encoder_out_layers": self.layers} if self.layers else {}
        tokens, _ = pipeline.encode_prompt(list(prompts), device=device, max_sequence_length=self.max_sequence_length, **layers)
        return Embedding(tokens)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding | None:
        """The embedding of the negative prompt, or of the empty text without one; None without an unconditional branch."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device) if self.traits.has_null else None

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens, and their positions in the text."""
        rows, length = embedding.tokens.shape[:2]
        places = torch.zeros(rows, length, 4, dtype=torch.long, device=embedding.tokens.device)
        places[..., 3] = torch.arange(length, device=places.device)
        return {"encoder_hidden_states": embedding.tokens, "txt_ids": places}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens."""
        return Embedding(conditioning["encoder_hidden_states"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x as tokens, their positions, the time, which is sigma, and the embedded guidance, if there is one."""
        height, width = torch.arange(x.shape[2], device=x.device), torch.arange(x.shape[3], device=x.device)
        none = torch.zeros(1, dtype=torch.long, device=x.device)
        return {
            "hidden_states": rearrange(x, "b c h w -> b (h w) c"),
            "timestep": at_time(x, time).to(x.dtype) / 1000,
            "guidance": None if self.embedded is None else at_time(x, self.embedded),
            "img_ids": torch.cartesian_prod(none, height, width, none).expand(x.shape[0], -1, -1),
        }

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x; its height follows from the positions."""
        return rearrange(arguments["hidden_states"], "b (h w) c -> b c h w", h=int(arguments["img_ids"][0, :, 1].max()) + 1)

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The transformer's output, a velocity, as latents."""
        return rearrange(raw, "b (h w) c -> b c h w", h=x.shape[2])

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)


def flux2(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    embedded_guidance: float = 4.0,
    max_sequence_length: int = 512,
    layers: tuple[int, ...] = (),
) -> PipelineBackbone:
    """A `Flux2Pipeline` or `Flux2KleinPipeline`, or one that inherits from them. A distilled Klein has no unconditional branch."""
    klein = any(cls.__name__ == "Flux2KleinPipeline" for cls in type(pipeline).__mro__)
    traits = Flux2().traits
    if klein:
        distilled = bool(pipeline.config.get("is_distilled"))
        own = {"steps": 4, "guidance": 1.0} if distilled else {"steps": 50, "guidance": 4.0}
        traits = evolve(traits, has_null=not distilled, tells_guidance=True, **own)
    return backbone(pipeline, Flux2(None if klein else embedded_guidance, max_sequence_length, layers, traits), steps, guidance, rewards)


def _timing(steps: int, shape: tuple[int, int, int]) -> Mapping[str, object]:
    return {"sigmas": even_sigmas(steps), "mu": _mu(shape[1] * shape[2], steps)}


def _mu(tokens: int, steps: int) -> float:
    """The logarithm of the shift: linear in the number of tokens at 10 steps and at 200, and in between linear in the number of steps.

    Source: the code of FLUX.2, with the same constants.
    """
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    return (at_200 - at_10) / 190.0 * (steps - 200.0) + at_200
