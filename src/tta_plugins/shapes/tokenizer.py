"""A CLIPTokenizer with one token for each word of the captions. Any other text becomes letters and bytes."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from tta_plugins.shapes.grammar import WORDS

START, END = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 16  # tokens of a caption, with start and end; the longest caption has 15


def make_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer from the word list. START and END have the last two ids, and END is also the padding."""
    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer in the layouts of transformers 4 (vocab.json, merges.txt) and 5 (tokenizer.json)."""
    make_tokenizer().save_pretrained(folder)
    vocabulary, merges = _vocabulary()
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges = _learn_merges()
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def _learn_merges() -> list[tuple[str, str]]:
    """The merges of byte-pair encoding, until every word is one token. Merges written manually could conflict; these cannot."""
    words = [[*word[:-1], word[-1] + "</w>"] for word in WORDS]
    merges = []
    while any(len(word) > 1 for word in words):
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        words = [_merged(word, best) for word in words]
    return merges


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
