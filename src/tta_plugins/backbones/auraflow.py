"""AuraFlow: T5's tokens, with zeros after the end of a prompt, and a transformer trained by flow matching.

Source: the calls of diffusers' `AuraFlowPipeline`; there is no paper of AuraFlow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.modules import inside
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = """@misc{fal2024auraflow,
  title = {{AuraFlow}},
  author = {{fal}},
  year = {2024},
  url = {https://huggingface.co/fal/AuraFlow}
}"""


@frozen
class AuraFlow:
    """The family of `AuraFlowPipeline`. The transformer attends to all tokens; those after the end of a prompt are zeros."""

    max_sequence_length: int = 256
    traits: Traits = Traits(upcasts=True, steps=50, guidance=3.5, positional=("hidden_states",))

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels, for any sample size of the transformer."""
        return 1024

    def timing(self, pipeline: Pipeline) -> None:
        """None: the pipeline passes only the number of steps."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """T5's tokens."""
        tokens, _, _, _ = pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, device=device, max_sequence_length=self.max_sequence_length
        )
        return Embedding(tokens)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding; without one, that of the empty text."""
        return self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens."""
        return {"encoder_hidden_states": embedding.tokens}

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens."""
        return Embedding(conditioning["encoder_hidden_states"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x and the time, which is sigma."""
        return {"hidden_states": x, "timestep": (at_time(x, time) / 1000).to(x.dtype)}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["hidden_states"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The transformer's output, a velocity, unchanged."""
        return raw

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)


def auraflow(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    max_sequence_length: int = 256,
) -> PipelineBackbone:
    """An `AuraFlowPipeline`, or one that inherits from it."""
    denoiser: Any = inside(pipeline.transformer)
    family = AuraFlow(max_sequence_length, evolve(AuraFlow().traits, patch=denoiser.config.patch_size))
    return backbone(pipeline, family, steps, guidance, rewards)
