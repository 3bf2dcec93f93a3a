"""A Qwen vision-language model with one question about an image: the probabilities of the first token of its answer."""

import inspect
from collections.abc import Sequence
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.errors import InputError, LoadError
from tta_plugins.rewards.pretrained import Dtype, commit, pretrained
from tta_plugins.rewards.qwen_pixels import Path_, QwenPixels, pixels_beside
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where

_IMAGE = "<|image_pad|>"
_SYSTEM = {"qwen2_vl": "You are a helpful assistant.", "qwen2_5_vl": "You are a helpful assistant.", "qwen3_vl": ""}


@attrs.frozen(eq=False)
class Qwen:
    """Model, tokenizer and image path. Each image is processed alone, so that it does not depend on other images or padding."""

    network: nn.Module
    tokenizer: Tokenizer
    pixels: QwenPixels
    source: str

    def log_probabilities(self, image: Float[Tensor, "3 H W"], question: str) -> Float[Tensor, " vocabulary"]:
        """The log-probabilities of the answer's first token, float32. Raises `InputError` for a question with a token of the chat
        format."""
        refuse_special(self.tokenizer, question)
        given = qwen_inputs(self.network, self.tokenizer, self.pixels, image, question)
        logits = self.network(**given, logits_to_keep=1, use_cache=False).logits[0, -1]
        return logits.float().log_softmax(-1)

    def token(self, answer: str) -> int:
        """The id of the first token of an answer."""
        return int(self.tokenizer.encode(answer, add_special_tokens=False)[0])


def open_qwen(weights: Where, path: Path_, dtype: Dtype, revision: str | None) -> Qwen:
    """Read a Qwen2-VL, Qwen2.5-VL or Qwen3-VL from a folder or the hub. Raises `LoadError` for another model."""
    network = pretrained(AutoModelForImageTextToText, weights, dtype, revision)
    config: Any = network.config
    if config.model_type not in _SYSTEM:
        raise LoadError(f"{weights} is a {config.model_type}, but this reward needs one of {', '.join(_SYSTEM)}.")
    tokenizer = load_tokenizer(AutoTokenizer, weights, ("tokenizer.json", "vocab.json"), config.text_config.vocab_size)
    return Qwen(network, tokenizer, pixels_beside(weights, path), commit(network, weights))


def qwen_inputs(network: Any, tokenizer: Tokenizer, pixels: QwenPixels, image: Float[Tensor, "3 H W"], text: str) -> dict[str, Tensor]:
    """The model's inputs: a chat with one user turn, image first, up to the start of the answer."""
    config, weight = network.config, next(network.parameters())
    patches, grid = pixels(image)
    count = int(grid.prod()) // pixels.merge**2
    ids = torch.tensor([chat(tokenizer, _SYSTEM[config.model_type], text, count)], device=weight.device)
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": patches.to(weight.device, weight.dtype),
        "image_grid_thw": grid.to(weight.device),
    }
    if "mm_token_type_ids" in inspect.signature(network.forward).parameters:  # transformers 5
        given["mm_token_type_ids"] = (ids == config.image_token_id).int()
    return given


def refuse_special(tokenizer: Tokenizer, text: str) -> None:
    """Raise `InputError` if a text contains one of the model's special tokens, which would end the turn or be read as an image."""
    special = sorted(token for token in tokenizer.get_added_vocab() if token in text)
    if special:
        raise InputError(f"The prompt {text[:80]!r} contains {special[0]!r}, which is a special token of the model. Remove it.")


def chat(tokenizer: Tokenizer, system: str, text: str, images: int) -> Sequence[int]:
    """Token ids of Qwen's chat format with `images` image tokens."""
    opening = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    turn = f"<|im_start|>user\n<|vision_start|>{_IMAGE * images}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
    return tokenizer.encode(opening + turn, add_special_tokens=False)
