"""Reads `--set PLACE.FIELD=VALUE`: the part of the run, its field and the text of the value."""

from collections.abc import Iterable, Sequence

from tta_core.errors import InputError
from tta_plugins.cli.suggestions import one_of


def assigned(texts: Sequence[str], places: Iterable[str]) -> dict[str, dict[str, str]]:
    """The texts of the values by place and field. Raises `InputError` for unknown places, for texts of any other form, and
    for a field that is given twice."""
    places = list(places)
    chosen: dict[str, dict[str, str]] = {place: {} for place in places}
    for text in texts:
        left, equals, value = text.partition("=")
        place, dot, field = left.strip().rpartition(".")  # a name may have a dot: hpsv2.1
        if not (equals and dot and field):
            raise InputError(f"--set must be PLACE.FIELD=VALUE, such as method.rho=0.7, but is {text!r}. Places: {', '.join(places)}.")
        of_place = chosen[one_of(place, places, "place for --set")]
        if field in of_place:
            raise InputError(f"--set gives {place}.{field} twice: {of_place[field]!r} and {value.strip()!r}. Give it once.")
        of_place[field] = value.strip()
    return chosen
