"""Choosing one of some words, with the nearest ones offered for a word that is none of them."""

import difflib
from collections.abc import Iterable

from tta_core.errors import UnknownNameError


def one_of(text: str, known: Iterable[str], what: str) -> str:
    """The text, if it is known. Raises `UnknownNameError`: what it should name, and what comes near."""
    known = list(known)
    if text in known:
        return text
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(known) or 'none'}."
    raise UnknownNameError(f"No {what} is called {text!r}. {hint}")
