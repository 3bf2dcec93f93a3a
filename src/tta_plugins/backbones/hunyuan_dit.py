"""HunyuanDiT: masked tokens of a bilingual CLIP and of T5, and a transformer that predicts v (and variances, which are not used).

Source: Hunyuan-DiT (arXiv 2405.08748); the calls of diffusers' `HunyuanDiTPipeline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from tta_core.protocols.backbone import classifier_free
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.family import Pipeline, Size, Traits, at_time, required
from tta_plugins.backbones.guidance import rescaled
from tta_plugins.backbones.modules import dtype_of, inside
from tta_plugins.backbones.pipeline import PipelineBackbone, backbone

CITATION = """@misc{li2024hunyuandit,
  title = {{Hunyuan-DiT}: A Powerful Multi-Resolution Diffusion Transformer with Fine-Grained {Chinese} Understanding},
  author = {Li, Zhimin and Zhang, Jianwei and Lin, Qin and others},
  year = {2024},
  eprint = {2405.08748},
  archivePrefix = {arXiv}
}"""


@frozen
class Encoder:
    """The number of tokens of a text encoder (`length`), and of their features (`width`)."""

    length: int
    width: int


@frozen
class HunyuanDiT:
    """The family of `HunyuanDiTPipeline`. Sizes are not changed to the nearest of the pipeline's bins.

    The tokens of an embedding are those of CLIP followed by those of T5. The narrower ones are padded with zeros, which are removed before
    the transformer. The transformer replaces masked tokens by learned ones. It pools all of T5's tokens, also the masked ones.

    Attributes:
        clip, t5: the two encoders.
        head: the number of features of an attention head, for the rotary positions.
        rescale, null_mask: as for `StableDiffusion` and for `PixArt`.
    """

    clip: Encoder = Encoder(77, 1024)
    t5: Encoder = Encoder(256, 2048)
    head: int = 88
    rescale: float = 0.0
    null_mask: Literal["keep", "full"] = "keep"
    traits: Traits = Traits(steps=50, guidance=5.0, positional=("hidden_states", "timestep"))

    def side(self, pipeline: Pipeline) -> int:
        """1024 pixels: the transformer's sample size."""
        return int(pipeline.default_sample_size * pipeline.vae_scale_factor)

    def timing(self, pipeline: Pipeline) -> None:
        """None: the pipeline passes only the number of steps."""

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The tokens and masks of both encoders, and the size."""
        dtype = dtype_of(pipeline.transformer)
        encoded = [
            pipeline.encode_prompt(list(prompts), device, dtype, 1, False, max_sequence_length=encoder.length, text_encoder_index=row)
            for row, encoder in enumerate((self.clip, self.t5))
        ]
        sizes = torch.tensor([[1024, 1024, *size, 0, 0]], dtype=dtype, device=encoded[0][0].device).repeat(len(prompts), 1)
        return self._joined([tokens for tokens, *_ in encoded], [mask for _, _, mask, _ in encoded], sizes)

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding:
        """The negative prompt's embedding, with the mask of `null_mask`; without one, that of the empty text."""
        null = self.encode(pipeline, [prompt or "" for prompt in prompts], size, device)
        return null if null.mask is None or self.null_mask == "keep" else evolve(null, mask=torch.ones_like(null.mask))

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """The tokens and the masks of each encoder, and the size."""
        first, mask = self.clip.length, embedding.mask
        return {
            "encoder_hidden_states": embedding.tokens[:, :first, : self.clip.width],
            "text_embedding_mask": None if mask is None else mask[:, :first],
            "encoder_hidden_states_t5": embedding.tokens[:, first:, : self.t5.width].contiguous(),
            "text_embedding_mask_t5": None if mask is None else mask[:, first:],
            "image_meta_size": required(embedding, "image_meta_size"),
        }

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The tokens, the masks and the size."""
        tokens, masks = ([conditioning[f"{name}{t5}"] for t5 in ("", "_t5")] for name in ("encoder_hidden_states", "text_embedding_mask"))
        return self._joined(tokens, masks, conditioning["image_meta_size"])

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x, the time, the positions of x, and the style, of which there is only one."""
        return {
            "hidden_states": x,
            "timestep": at_time(x, time).to(x.dtype),
            "style": torch.zeros(x.shape[0], dtype=torch.long, device=x.device),
            "image_rotary_emb": self._positions(x),
        }

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """x from the arguments."""
        return arguments["hidden_states"]

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """The first half of the output's channels; the second half, a learned variance, is not used."""
        return raw[:, : x.shape[1]]

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Classifier-free guidance."""
        return rescaled(classifier_free(text, null, guidance), text, self.rescale)

    def _joined(self, tokens: Sequence[Tensor], masks: Sequence[Tensor], size: Tensor) -> Embedding:
        width = max(self.clip.width, self.t5.width)
        widened = [pad(part, (0, width - part.shape[2])) for part in tokens]
        return Embedding(torch.cat(widened, dim=1), mask=torch.cat(list(masks), dim=1), extra={"image_meta_size": size})

    def _positions(self, x: Latents) -> tuple[Tensor, Tensor]:
        """Rotary positions of x's patches, stretched to those of a square of 512 pixels, as in the pipeline."""
        from diffusers.models.embeddings import get_2d_rotary_pos_embed
        from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

        patch = self.traits.patch
        grid = (x.shape[2] // patch, x.shape[3] // patch)
        region = get_resize_crop_region_for_grid(grid, 64 // patch)
        cos, sin = get_2d_rotary_pos_embed(self.head, region, grid, device=x.device, output_type="pt")
        return cos, sin


def hunyuan_dit(
    pipeline: Pipeline,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    rewards: Mapping[str, str] | None = None,
    guidance_rescale: float = 0.0,
    null_mask: Literal["keep", "full"] = "keep",
) -> PipelineBackbone:
    """A `HunyuanDiTPipeline`, or one that inherits from it."""
    denoiser: Any = inside(pipeline.transformer)
    config = denoiser.config
    clip, t5 = Encoder(config.text_len, config.cross_attention_dim), Encoder(config.text_len_t5, config.cross_attention_dim_t5)
    traits = evolve(HunyuanDiT().traits, patch=config.patch_size)
    family = HunyuanDiT(clip, t5, config.attention_head_dim, guidance_rescale, null_mask, traits)
    return backbone(pipeline, family, steps, guidance, rewards)
