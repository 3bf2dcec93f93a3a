"""Where a plugin says what to cite and what its numbers mean, without making one of it (a reward would load its weights)."""

import sys

from tta_core.protocols.reward import Card


def citation_of(target: object) -> str:
    """BibTeX: the `citation` of the class, else of its card, else the `CITATION` of its module; empty if there is none."""
    own = getattr(target, "citation", "")
    card = card_on(target)
    if isinstance(own, str) and own:
        return own
    if card is not None:
        return card.citation
    stated = vars(sys.modules[getattr(target, "__module__", "builtins")]).get("CITATION", "")
    return stated if isinstance(stated, str) else ""


def card_on(target: object) -> Card | None:
    """The card, where it is written on the class; None where it depends on the settings, or where there is none."""
    card = getattr(target, "card", None)
    return card if isinstance(card, Card) else None


def card_is_computed(target: object) -> bool:
    """Whether the card depends on the settings, and so exists on instances only."""
    return isinstance(getattr(target, "card", None), property)
