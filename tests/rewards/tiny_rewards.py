"""The official scorers with tiny random weights under their original key names, and the results of the authors' code for them.

The loaded rewards are shared between tests; a test that changes a network makes its own: `hps.__wrapped__()`.
"""

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from tta_plugins.rewards.aesthetic import Aesthetic
from tta_plugins.rewards.clip import CLIPScore
from tta_plugins.rewards.hpsv2 import HPSv2
from tta_plugins.rewards.imagereward import ImageReward
from tta_plugins.rewards.pickscore import PickScore
from tta_plugins.rewards.preprocessing import CLIP_MEAN, CLIP_STD

FIXTURES = Path(__file__).parent / "fixtures"
HPS_FILE = FIXTURES / "hpsv2_tiny" / "HPS_tiny_compressed.pt"
IMAGEREWARD_FILE = FIXTURES / "imagereward_tiny" / "ImageReward.pt"
AESTHETIC_FILE = FIXTURES / "aesthetic_tiny" / "aesthetic-tiny-linearMSE.pth"
CLIP_FOLDER = FIXTURES / "clip_hf_tiny_gelu"
PAD = "<pad>"  # id 0
STD = torch.tensor(CLIP_STD).view(3, 1, 1)
MEAN = torch.tensor(CLIP_MEAN).view(3, 1, 1)


def numbers(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer for prompts that are token ids, such as `"7 3 119"`, because the vocabularies of the real models are not available."""
    words = Tokenizer(WordLevel({PAD: 0} | {str(n): n for n in range(1, size)}, unk_token=PAD))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD)


def written(ids: Tensor, mask: Tensor | None = None) -> list[str]:
    """Token ids as prompts for `numbers`."""
    mask = torch.ones_like(ids) if mask is None else mask
    return [
        " ".join(str(n) if n else PAD for n, kept in zip(*pair, strict=True) if kept)
        for pair in zip(ids.tolist(), mask.tolist(), strict=True)
    ]


def recorded(name: str) -> dict[str, Tensor]:
    return load_file(FIXTURES / name / "io.safetensors")


def as_images(pixels: Tensor) -> Tensor:
    """The pixels before normalisation; at the network's own size, preprocessing without clamping changes nothing."""
    return pixels * STD + MEAN


@cache
def hps(**changes) -> HPSv2:
    return HPSv2(**{"weights": HPS_FILE, "tokenizer": numbers(120), "head_widths": (16, 16)} | changes)


@cache
def pickscore(**changes) -> PickScore:
    return PickScore(**{"weights": CLIP_FOLDER, "tokenizer": numbers(120), "preprocess": "reno"} | changes)


@cache
def clip(**changes) -> CLIPScore:
    return CLIPScore(**{"weights": CLIP_FOLDER, "tokenizer": numbers(120), "preprocess": "reno"} | changes)


@cache
def imagereward(**changes) -> ImageReward:
    given = {"weights": IMAGEREWARD_FILE, "tokenizer": numbers(90), "head_widths": (12, 12), "preprocess": "reno"}
    return ImageReward(**given | changes)


def aesthetic(folder: Path, **changes) -> Aesthetic:
    """The tiny head reads 32 numbers and the tiny CLIP gives 24, so a CLIP with a wider projection is made beside it."""
    return Aesthetic(**{"weights": AESTHETIC_FILE, "clip": wide_clip(folder)} | changes)


def wide_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    config = CLIPConfig.from_pretrained(CLIP_FOLDER)
    config.projection_dim = 32
    CLIPModel(config).save_pretrained(folder)
    return folder


NAMED = {"hpsv2_tiny": hps, "clip_hf_tiny_gelu": clip, "imagereward_tiny": imagereward}


def prompts_of(name: str, io: dict[str, Tensor]) -> list[str]:
    """ImageReward's padding is masked; CLIP's padding is written into the prompt, where it must have no effect."""
    return written(io["input_ids"], io["attention_mask"] if name == "imagereward_tiny" else None)
