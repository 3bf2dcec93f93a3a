"""A tokenizer from a folder or the hub, only if its vocabulary is there and fits the text tower."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.errors import LoadError
from tta_plugins.rewards.weight_files import Where, find, pinned


def load_tokenizer(kind: Any, where: Where | Tokenizer, files: Sequence[str], known: int) -> Tokenizer:
    """The tokenizer itself, or that of class `kind` from a folder or hub id that holds one of `files`; `known` ids have an embedding.

    transformers gives an empty tokenizer for a folder without a vocabulary, which reads every prompt alike: hence the check.
    """
    tokenizer = where if isinstance(where, Tokenizer) else _read(kind, where, files)
    if len(tokenizer) > known:
        raise LoadError(
            f"The tokenizer {tokenizer.name_or_path!r} has {len(tokenizer):,} tokens, but the text tower knows {known:,}. It belongs to "
            "another model: give the tokenizer that docs/scores.md names."
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
            "that holds it."
        ) from error
