"""Loads a tokenizer from a folder or the hub, and checks that its vocabulary exists and fits the text tower."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.errors import LoadError
from tta_plugins.rewards.weight_files import Where, find, pinned


def load_tokenizer(kind: Any, where: Where | Tokenizer, files: Sequence[str], known: int) -> Tokenizer:
    """The given tokenizer, or one of class `kind` from a folder or hub id that contains one of `files`. `known` is the number of token ids
    that have an embedding.

    For a folder without a vocabulary, transformers returns an empty tokenizer, with which all prompts are equal; so this is checked.

    Raises:
        LoadError: it cannot be read, or has more tokens than the text tower has embeddings.
    """
    tokenizer = where if isinstance(where, Tokenizer) else _read(kind, where, files)
    if len(tokenizer) > known:
        raise LoadError(
            f"The tokenizer {tokenizer.name_or_path!r} has {len(tokenizer):,} tokens, but the text tower has embeddings for {known:,}. It "
            "belongs to another model. Give the tokenizer that docs/scores.md names."
        )
    return tokenizer


def _read(kind: Any, where: Where, files: Sequence[str]) -> Tokenizer:
    file = find(where, files)
    try:
        place, revision = pinned(where)
        return kind.from_pretrained(file.parent if Path(where).is_file() else place, revision=revision)
    except Exception as error:
        raise LoadError(
            f"{kind.__name__} could not read {file}: {type(error).__name__}: {error}. Get {' or '.join(files)} again, or give a folder "
            "that contains it."
        ) from error
