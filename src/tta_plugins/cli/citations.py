"""A plugin's citation and card, read from its class: an instance of a reward would load its weights."""

import sys

from tta_core.protocols.reward import Card


def citation_of(target: object) -> str:
    """The BibTeX entry: the `citation` of the class, else of its card, else the `CITATION` of its module; empty if there is none."""
    own = getattr(target, "citation", "")
    card = card_on(target)
    if isinstance(own, str) and own:
        return own
    if card is not None:
        return card.citation
    stated = vars(sys.modules[getattr(target, "__module__", "builtins")]).get("CITATION", "")
    return stated if isinstance(stated, str) else ""


def card_on(target: object) -> Card | None:
    """The card, if it is an attribute of the class; None if it depends on the settings, or if there is none."""
    card = getattr(target, "card", None)
    return card if isinstance(card, Card) else None


def card_is_computed(target: object) -> bool:
    """Whether the card depends on the settings, so that only instances have one."""
    return isinstance(getattr(target, "card", None), property)
