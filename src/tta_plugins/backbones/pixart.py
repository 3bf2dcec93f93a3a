"""PixArt-alpha and PixArt-Sigma: T5's tokens with a mask, and a transformer that predicts the noise (and variances, which are not used).

Source: PixArt-alpha (arXiv 2310.00426), PixArt-Sigma (arXiv 2403.04692); the calls of diffusers' `PixArtAlphaPipeline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = r"""@inproceedings{chen2024pixartalpha,
  title = {{PixArt}-$\alpha$: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image Synthesis},
  author = {Chen, Junsong and Yu, Jincheng and Ge, Chongjian and Yao, Lewei and Xie, Enze and Wu, Yue and Wang,
            Zhongdao and Kwok, James and Luo, Ping and Lu, Huchuan and Li, Zhenguo},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2310.00426},
  archivePrefix = {arXiv}
}
@inproceedings{chen2024pixartsigma,
  title = {{PixArt}-$\Sigma$: Weak-to-Strong Training of Diffusion Transformer for {4K} Text-to-Image Generation},
  author = {Chen, Junsong and Ge, Chongjian and Xie, Enze and Wu, Yue and Yao, Lewei and Ren, Xiaozhe and Wang,
            Zhongdao and Luo, Ping and Lu, Huchuan and Li, Zhenguo},
  booktitle = {European Conference on Computer Vision},
  year = {2024},
  eprint = {2403.04692},
  archivePrefix = {arXiv}
}"""

_MICRO_CONDITIONS = ("resolution", "aspect_ratio")


@frozen
class PixArt:
    """The family of `PixArtAlphaPipeline` and `PixArtSigmaPipeline`.

    Attributes:
        max_sequence_length: the number of T5's tokens: 120 for alpha, 300 for Sigma.
        null_mask: "keep": the mask of the empty text has one token, so that only this token of the null embedding has a gradient; "full":
            all tokens are used, which steers better and changes the output of the unconditional branch.
    """

    max_sequence_length: int = 120
    null_mask: Literal["keep", "full"] = "keep"
    traits: Traits = Traits(steps=20, guidance=4.5, positional=("hidden_states",))

    def side(self, pipeline: Pipeline) -> int:
        """512 or 1024 pixels: the transformer's sample size."""
        return int(pipeline.transformer.config.sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> None:
        """None: the pipeline passes only the number of steps."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """T5's tokens and their mask; for a network that takes them, the size and the aspect ratio."""
        tokens, mask, _, _ = pipeline.encode_prompt(list(prompts), False, device=device, max_sequence_length=self.max_sequence_length)
        extra = {}
        if pipeline.transformer.use_additional_conditions:
            micro = torch.tensor([[*size, size[0] / size[1]]], dtype=tokens.dtype, device=tokens.device).repeat(len(prompts), 1)
            extra = {"resolution": micro[:, :2], "aspect_ratio": micro[:, 2:]}
        return Embedding(tokens, mask=mask, extra=extra)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding, with the mask of `null_mask`; without one, that of the empty text."""
        null = self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)
        return null if null.mask is None or self.null_mask == "keep" else evolve(null, mask=torch.ones_like(null.mask))

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens, their mask and the size."""
        return {
            "encoder_hidden_states": embedding.tokens,
            "encoder_attention_mask": embedding.mask,
            "added_cond_kwargs": {name: embedding.extra.get(name) for name in _MICRO_CONDITIONS},
        }

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens, their mask and the size."""
        extra = {name: tensor for name, tensor in conditioning["added_cond_kwargs"].items() if tensor is not None}
        return Embedding(conditioning["encoder_hidden_states"], mask=conditioning["encoder_attention_mask"], extra=extra)

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x and the time."""
        return {"hidden_states": x, "timestep": at_time(x, time)}

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["hidden_states"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The predicted noise; the second half of the channels, a learned variance, is not used."""
        return raw[:, : x.shape[1]]

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return classifier_free(text, null, guidance)


def pixart(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    null_mask: Literal["keep", "full"] = "keep",
    max_sequence_length: int | None = None,
) -> PipelineBackbone:
    """A `PixArtAlphaPipeline` or `PixArtSigmaPipeline`, or one that inherits from them. Captions are not cleaned."""
    sigma = any(cls.__name__ == "PixArtSigmaPipeline" for cls in type(pipeline).__mro__)
    length = (300 if sigma else 120) if max_sequence_length is None else max_sequence_length
    traits = evolve(PixArt().traits, patch=pipeline.transformer.config.patch_size)
    return backbone(pipeline, PixArt(length, null_mask, traits), steps, guidance, rewards)
