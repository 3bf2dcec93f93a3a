"""Tiny vision-language models, written by the real classes in the layout of their repositories."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from tta_plugins.rewards.hpsv3 import HPSv3, head_of

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
WORDS = ("Yes", "yes", " Yes", " yes", "two", "2", "Two", " two", " 2", " Two", "red", "Red", " red", " Red")
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@cache
def tokenizer():
    """A tokenizer of the words in this file and of single characters, with Qwen's special tokens."""
    characters = [chr(code) for code in (10, *range(32, 127))]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL, "<unk>", *WORDS, *characters]))}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = Split(Regex(r"^ ?(?:Yes|yes|two|Two|2|red|Red)$|[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", additional_special_tokens=list(SPECIAL))


def special(name):
    return tokenizer().convert_tokens_to_ids(name)


def ids():
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {name: special(token) for name, token in names.items()}


def rope():
    return {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


@cache
def folder(family, seed=0):
    """A repository of that family with random weights and 8-pixel patches."""
    place = Path(mkdtemp())
    vocabulary = len(tokenizer())
    torch.manual_seed(seed)
    vision = {"depth": 2, "hidden_size": 16, "num_heads": 2, "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2}
    text = {**TEXT, "vocab_size": vocabulary, "rope_parameters": rope(), "max_position_embeddings": 4096, "initializer_range": 0.3}
    mean, std, sizes = MEAN, STD, {"min_pixels": 256, "max_pixels": 1024}
    if family == "qwen2_vl":
        config = Qwen2VLConfig(text_config=text, vision_config={**vision, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}, **ids())
        model = Qwen2VLForConditionalGeneration(config)
    elif family == "qwen2_5_vl":
        more = {"intermediate_size": 24, "out_hidden_size": 32, "window_size": 16, "fullatt_block_indexes": [1]}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision | more, **ids()))
    else:
        more = {"intermediate_size": 24, "out_hidden_size": 32, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        text |= {"head_dim": 8}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision | more, **ids()))
        mean = std = (0.5, 0.5, 0.5)
        sizes = {"size": {"shortest_edge": 256, "longest_edge": 1024}}
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.eval().save_pretrained(place)
    tokenizer().save_pretrained(place)
    told = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, "image_mean": mean, "image_std": std, **sizes}
    (place / "preprocessor_config.json").write_text(json.dumps(told))
    return place


@cache
def hpsv3_folder():
    """Tensors in the layout of transformers 4.45, as in the published file."""
    place = Path(mkdtemp())
    state = load_file(folder("qwen2_vl") / "model.safetensors")
    old = {key.replace("model.language_model.", "model.").replace("model.visual.", "visual."): value for key, value in state.items()}
    key = "model.embed_tokens.weight"
    torch.manual_seed(5)
    old[key] = torch.cat([old[key], torch.randn(1, old[key].shape[1])])
    old |= {f"rm_head.{name}": value.clone() for name, value in head_of(32).state_dict().items()}
    save_file(old, place / "HPSv3.safetensors")
    (place / "instruction.txt").write_text("Rate {text_prompt} now: <|Reward|> end")
    return place


def hpsv3(place, **changes):
    """An HPSv3 that sees 1024 pixels: 4 tokens instead of 256."""
    given = {"weights": place, "instruction": place / "instruction.txt", "base": folder("qwen2_vl"), "dtype": "float32"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tta_plugins.rewards.hpsv3.TOKENS", 4)
        return HPSv3(**given | changes)
