"""Checks that a text encoder was loaded, and does not have random weights.

Versions of transformers disagree on the names of CLIPTextModel's weights. A version that does not find them only warns and
continues with random ones. The stored numbers are the encoder's output for one fixed prompt.
"""

import json
from pathlib import Path

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from tta_core.errors import LoadError
from tta_plugins.shapes.load import WEIGHTS

PROMPT = "a red circle left of a blue square on a white background"
FILE = "fingerprint.json"
TOLERANCE = 0.02  # half precision and other kernels change these numbers, of size 1, by less


def measure(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> list[float]:
    """The first eight numbers of the encoder's pooled output for PROMPT."""
    tokens = tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids.to(text_encoder.device)
    with torch.no_grad():
        return [round(value, 4) for value in text_encoder(tokens).pooler_output[0, :8].float().tolist()]


def check(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, weights: Path = WEIGHTS) -> None:
    """Check the encoder's output. Raises `LoadError` if it differs from the stored numbers."""
    expected = json.loads((weights / FILE).read_text(encoding="utf-8"))["values"]
    measured = measure(text_encoder, tokenizer)
    if max(abs(a - b) for a, b in zip(expected, measured, strict=True)) > TOLERANCE:
        raise LoadError(
            f"The text encoder gives {measured} for {PROMPT!r}, but was trained to give {expected}. This version of transformers "
            "did not find the weights under the names that it expects and used random ones. Use transformers 4.44 or later."
        )
