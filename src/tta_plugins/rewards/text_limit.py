"""A prompt longer than a reward's text tower reads: said once a prompt, since two that differ only later score the same."""

import warnings

from transformers import PreTrainedTokenizerBase as Tokenizer


def warn_if_cut(tokenizer: Tokenizer, prompt: str, length: int, who: str) -> None:
    """Warn if the prompt has more than `length` tokens, with what is left out."""
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    if len(ids) > length:
        kept = tokenizer.decode(tokenizer(prompt, truncation=True, max_length=length).input_ids, skip_special_tokens=True)
        warnings.warn(
            f"{who} reads {length} tokens, but the prompt {prompt[:60]!r}... has {len(ids)}: what follows {kept[-40:]!r} does not count. "
            "Shorten it, or put what matters first.",
            stacklevel=2,
        )
