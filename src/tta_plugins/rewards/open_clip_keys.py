"""Reads an open_clip checkpoint as Hugging Face's CLIPModel: the 686 tensors of ViT-H-14 become 910.

Source: the layouts of open_clip's `CLIP` and transformers' `CLIPModel`. Two pitfalls: the projections are transposed (they are square, so a
missing transpose would cause no error), and query, key and value are stacked in one matrix.
"""

import re
from collections.abc import Mapping

from torch import Tensor
from transformers import CLIPConfig

from tta_core.errors import LoadError
from tta_plugins.rewards.weights import depth, require

_PLAIN = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers' spelling
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_SHAPED = ("visual.conv1.weight", "visual.positional_embedding", "positional_embedding", "token_embedding.weight", "text_projection")
_MLP = "transformer.resblocks.0.mlp.c_fc.weight"
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)")


def clip_state(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The same tensors under CLIPModel's keys. Raises `LoadError` for a key that open_clip's CLIP does not have."""
    mapped: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in _PLAIN:
            mapped[_PLAIN[key]] = value
        elif key in _TRANSPOSED:
            mapped[_TRANSPOSED[key]] = value.mT.contiguous()
        else:
            mapped |= _block(key, value, where)
    return mapped


def clip_config(state: Mapping[str, Tensor], head_widths: tuple[int, int], where: str) -> CLIPConfig:
    """The architecture, from the tensors' shapes. The file does not contain the width of an attention head (vision, text), exact gelu, and
    eps 1e-5."""
    require(state, (*_SHAPED, *(f"{tower}{_MLP}" for tower in ("visual.", ""))), where, "open_clip's CLIP")
    (vision, _, patch, _), (positions, _) = state["visual.conv1.weight"].shape, state["visual.positional_embedding"].shape
    (length, text), (vocabulary, _) = state["positional_embedding"].shape, state["token_embedding.weight"].shape
    projection = state["text_projection"].shape[1]
    both = {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "attention_dropout": 0.0, "projection_dim": projection}
    return CLIPConfig(
        projection_dim=projection,
        vision_config=both
        | {
            "hidden_size": vision,
            "intermediate_size": state[f"visual.{_MLP}"].shape[0],
            "num_hidden_layers": depth(state, "visual.transformer.resblocks."),
            "num_attention_heads": vision // head_widths[0],
            "image_size": patch * round((positions - 1) ** 0.5),
            "patch_size": patch,
        },
        text_config=both
        | {
            "hidden_size": text,
            "intermediate_size": state[_MLP].shape[0],
            "num_hidden_layers": depth(state, "transformer.resblocks."),
            "num_attention_heads": text // head_widths[1],
            "vocab_size": vocabulary,
            "max_position_embeddings": length,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
    )


def _block(key: str, value: Tensor, where: str) -> dict[str, Tensor]:
    found = _BLOCK.fullmatch(key)
    if found:
        visual, layer, name, kind = found.groups()
        prefix = f"{'vision' if visual else 'text'}_model.encoder.layers.{layer}."
        if name in _IN_BLOCK:
            return {f"{prefix}{_IN_BLOCK[name]}.{kind}": value}
        if name == "attn.in_proj":
            return {f"{prefix}self_attn.{part}_proj.{kind}": third.clone() for part, third in zip("qkv", value.chunk(3), strict=True)}
    raise LoadError(
        f"{where} is a checkpoint of another model: it has the key {key!r}, which open_clip's CLIP does not have. Use the file that "
        "docs/scores.md names."
    )
