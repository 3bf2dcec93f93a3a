"""Reads an ImageReward checkpoint as transformers' BLIP: an image tower, a text tower that attends to it, and a linear head.

Source: the layouts of ImageReward's `BLIP_Pretrain` and of transformers' `BlipVisionModel` and `BlipTextModel`.
"""

from collections.abc import Mapping

from torch import Tensor
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig

from tta_core.values.typing import frozen
from tta_plugins.rewards.weights import depth, ignore, require

_VISION = (
    ("cls_token", "embeddings.class_embedding"),
    ("pos_embed", "embeddings.position_embedding"),
    ("patch_embed.proj.", "embeddings.patch_embedding."),
    ("norm.", "post_layernorm."),
)
_VISION_SHAPED = ("embeddings.patch_embedding.weight", "embeddings.position_embedding", "encoder.layers.0.mlp.fc1.weight")
_IN_BLOCK = {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn": "self_attn", "mlp": "mlp"}
_UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")  # contrastive heads, and a buffer


@frozen
class Parts:
    """The tensors of each part, under the keys of transformers."""

    vision: dict[str, Tensor]
    text: dict[str, Tensor]
    head: dict[str, Tensor]


def parts_of(state: Mapping[str, Tensor], where: str) -> Parts:
    """Sort a checkpoint's keys by part. Unknown keys cause a warning: the authors' loader ignores them, so a file may contain some."""
    parts, unknown = Parts({}, {}, {}), []
    for key, value in state.items():
        if key.startswith("blip.visual_encoder."):
            parts.vision[_vision_key(key.removeprefix("blip.visual_encoder."))] = value
        elif key.startswith("mlp."):
            parts.head[key.removeprefix("mlp.")] = value
        elif key.startswith(_UNUSED):
            continue
        elif key.startswith("blip.text_encoder."):
            parts.text[key.removeprefix("blip.text_encoder.")] = value
        else:
            unknown.append(key)
    if unknown:
        ignore(unknown, where)
    return parts


def vision_config(state: Mapping[str, Tensor], head_width: int, where: str) -> BlipVisionConfig:
    """The image tower's architecture, from its tensors. The file does not contain the width of a head, exact gelu, and eps 1e-6 (not
    1e-5)."""
    require(state, _VISION_SHAPED, where, "ImageReward")
    width, _, patch, _ = state["embeddings.patch_embedding.weight"].shape
    positions = state["embeddings.position_embedding"].shape[1]
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=depth(state, "encoder.layers."),
        num_attention_heads=width // head_width,
        image_size=patch * round((positions - 1) ** 0.5),
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        attention_dropout=0.0,
    )


def text_config(state: Mapping[str, Tensor], head_width: int, where: str) -> BlipTextConfig:
    """The text tower's architecture. `is_decoder` is only set to create the cross attention; the call uses bidirectional attention."""
    embeddings, first = "embeddings.word_embeddings.weight", "encoder.layer.0."
    needed = (
        embeddings,
        "embeddings.position_embeddings.weight",
        f"{first}crossattention.self.key.weight",
        f"{first}intermediate.dense.weight",
    )
    require(state, needed, where, "ImageReward")
    vocabulary, width = state[embeddings].shape
    return BlipTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        encoder_hidden_size=state[f"{first}crossattention.self.key.weight"].shape[1],
        intermediate_size=state[f"{first}intermediate.dense.weight"].shape[0],
        num_hidden_layers=depth(state, "encoder.layer."),
        num_attention_heads=width // head_width,
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        is_decoder=True,
    )


def _vision_key(key: str) -> str:
    for old, new in _VISION:
        if key.startswith(old):
            return new + key.removeprefix(old)
    blocks, _, rest = key.partition(".")
    layer, _, rest = rest.partition(".")
    module, _, rest = rest.partition(".")
    if blocks != "blocks" or module not in _IN_BLOCK:
        return key  # an unknown key, which building the tower reports
    rest = f"projection.{rest.removeprefix('proj.')}" if rest.startswith("proj.") else rest
    return f"encoder.layers.{layer}.{_IN_BLOCK[module]}.{rest}"
