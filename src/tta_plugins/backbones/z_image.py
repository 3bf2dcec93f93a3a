"""Z-Image and Z-Image-Turbo: lists of a language model's tokens, time from 0 to 1, and a velocity of the opposite sign.

Source: Z-Image (arXiv 2511.22699); the calls of diffusers' `ZImagePipeline`.
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
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone
from tta_plugins.backbones.time_shift import mu
from tta_plugins.backbones.token_lists import listed, unlisted

CITATION = """@misc{zimage2025,
  title = {{Z-Image}: An Efficient Image Generation Foundation Model with Single-Stream Diffusion Transformer},
  author = {{Z-Image Team}},
  year = {2025},
  eprint = {2511.22699},
  archivePrefix = {arXiv}
}"""


@frozen
class ZImage:
    """The family of `ZImagePipeline`.

    Its `guidance` is the pipeline's number g in text + g (text - null), which is weight g + 1 for other families. As for every family,
    there is no guidance up to 1, while the pipeline has guidance above 0.

    Attributes:
        normalise: the largest norm of the guided output, relative to that of the text branch; the pipeline's `cfg_normalization`; 0: no
            limit.
    """

    max_sequence_length: int = 512
    normalise: float = 0.0
    traits: Traits = Traits(steps=50, guidance=5.0, branches="text first", positional=("x", "t", "cap_feats"))

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels."""
        return 1024

    def timing(self, pipeline: Pipeline) -> Timing:
        """Even sigmas from 1 to 1 / steps, and the shift of time."""
        return partial(_timing, pipeline)

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The language model's second-to-last hidden state, padded to one length."""
        rows, _ = pipeline.encode_prompt(list(prompts), device, False, max_sequence_length=self.max_sequence_length)
        return unlisted(rows, self.max_sequence_length)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding; without one, that of the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens of each row without padding."""
        return {"cap_feats": listed(embedding)}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens of each row, padded as by `encode`."""
        return unlisted(conditioning["cap_feats"], self.max_sequence_length)

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """A list with each row of x as one frame, and the time, 1 - sigma."""
        return {"x": list(x.unsqueeze(2).unbind(0)), "t": (1000 - at_time(x, time)) / 1000}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return torch.stack(list(arguments["x"])).squeeze(2)

    def output(self, raw: Sequence[Tensor], x: Latents) -> Latents:
        """The velocity from clean latents to noise; the transformer's output has the opposite sign."""
        return -torch.stack(list(raw)).squeeze(2)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """text + guidance (text - null), with at most `normalise` times the norm of the text branch, if that is set."""
        if guidance <= 1:
            return text
        guided = text + guidance * (text - null)
        if self.normalise <= 0:
            return guided
        longest, length = (output.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for output in (text, guided))
        return guided * (self.normalise * longest / length).clamp(max=1.0)


def z_image(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    max_sequence_length: int = 512,
    normalise: float = 0.0,
) -> PipelineBackbone:
    """A `ZImagePipeline`, or one that inherits from it."""
    return backbone(pipeline, ZImage(max_sequence_length, normalise), steps, guidance, rewards)


def _timing(pipeline: Pipeline, steps: int, shape: tuple[int, int, int]) -> Mapping[str, object]:
    even = torch.linspace(1.0, 1 / steps, steps, dtype=torch.float32, device="cpu").tolist()
    return {"sigmas": even, "mu": mu(pipeline, shape, 2, 1.15)}
