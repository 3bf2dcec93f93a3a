"""The sizes of MPS's networks, from the shapes of its tensors: its files have no configuration."""

from collections.abc import Mapping

from torch import Tensor
from transformers import CLIPConfig

from tta_plugins.rewards.mps_cross import CrossModel
from tta_plugins.rewards.weights import depth, require


def cross_model(state: Mapping[str, Tensor], where: str) -> CrossModel:
    """The architecture from the tensors' shapes. Raises `LoadError` if a tensor that is needed for it is missing."""
    queries, keys, hidden = (f"layers.0.0.{name}.weight" for name in ("to_q", "to_kv", "ff.2"))
    require(state, (queries, keys, hidden), where, "MPS")
    (inner, width), head_width = state[queries].shape, state[keys].shape[0] // 2
    return CrossModel(width, depth(state, "layers."), inner // head_width, head_width, state[hidden].shape[1] // width)


def mps_clip_config(state: Mapping[str, Tensor], head_widths: tuple[int, int], where: str) -> CLIPConfig:
    """The two towers from the tensors' shapes: exact gelu, and the prompt's embedding at its first end token, the highest id."""
    vision, text = "vision_model.", "text_model."
    shaped = [f"{vision}embeddings.{name}_embedding.weight" for name in ("patch", "position")]
    shaped += [f"{text}embeddings.{name}_embedding.weight" for name in ("token", "position")]
    first = "encoder.layers.0.mlp.fc1.weight"
    require(state, (*shaped, vision + first, text + first, "text_projection.weight"), where, "MPS")
    patches, positions, vocabulary, lengths = (state[key].shape for key in shaped)
    sizes = [
        {
            "hidden_size": width,
            "intermediate_size": state[tower + first].shape[0],
            "num_hidden_layers": depth(state, f"{tower}encoder.layers."),
            "num_attention_heads": width // head_width,
            "hidden_act": "gelu",
        }
        for tower, width, head_width in zip((vision, text), (patches[0], vocabulary[1]), head_widths, strict=True)
    ]
    return CLIPConfig(
        vision_config={**sizes[0], "image_size": patches[-1] * round((positions[0] - 1) ** 0.5), "patch_size": patches[-1]},
        text_config={**sizes[1], "vocab_size": vocabulary[0], "max_position_embeddings": lengths[0], "eos_token_id": 2},
        projection_dim=state["text_projection.weight"].shape[0],
    )
