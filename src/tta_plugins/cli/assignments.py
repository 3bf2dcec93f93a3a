"""`--set PLACE.FIELD=VALUE`: which part of the run a setting belongs to, and what it says."""

from collections.abc import Iterable, Sequence

from tta_core.errors import InputError
from tta_plugins.cli.suggestions import one_of


def assigned(texts: Sequence[str], places: Iterable[str]) -> dict[str, dict[str, str]]:
    """By place and field, the texts given. Raises `InputError` for what is not PLACE.FIELD=VALUE, and for unknown places."""
    places = list(places)
    chosen: dict[str, dict[str, str]] = {place: {} for place in places}
    for text in texts:
        left, equals, value = text.partition("=")
        place, dot, field = left.strip().rpartition(".")  # a name may have a dot: hpsv2.1
        if not (equals and dot and field):
            raise InputError(f"--set {text!r} is not PLACE.FIELD=VALUE, such as --set method.rho=0.7. Places: {', '.join(places)}.")
        chosen[one_of(place, places, "place for --set")][field] = value.strip()
    return chosen
