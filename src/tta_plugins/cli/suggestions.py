"""Chooses one of several names, and suggests similar ones for an unknown name."""

from collections.abc import Iterable

from tta_core.errors import UnknownNameError
from tta_core.plugins.registry import nearest


def one_of(text: str, known: Iterable[str], what: str) -> str:
    """The text, if it is known. Raises `UnknownNameError` with similar names; `what` says what the text should name."""
    known = list(known)
    if text in known:
        return text
    raise UnknownNameError(f"No {what} is called {text!r}. {nearest(text, known)}")
