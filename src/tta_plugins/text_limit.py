"""Warns of prompts that are longer than a text encoder can read, since the rest of the prompt has no effect."""

import warnings
from typing import Any


def warn_if_cut(tokenizer: Any, prompt: str, length: int, name: str) -> None:
    """Warn if the prompt has more than `length` tokens; the message names the reader and shows where the prompt is cut.

    `tokenizer` is one of transformers.
    """
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    if len(ids) > length:
        kept = tokenizer.decode(tokenizer(prompt, truncation=True, max_length=length).input_ids, skip_special_tokens=True)
        warnings.warn(
            f"{name} reads {length} tokens, but the prompt {prompt[:60]!r}... has {len(ids)}: the text after {kept[-40:]!r} is ignored. "
            "Shorten the prompt, or put the important words first.",
            stacklevel=2,
        )
