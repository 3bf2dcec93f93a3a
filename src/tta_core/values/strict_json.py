"""Writes strict JSON (RFC 8259), which has no infinity and no NaN."""

import json
import math
from collections.abc import Iterable, Mapping


def dumps(value: object) -> str:
    """The value as JSON in ASCII. Values that JSON does not have are written as text; see `plain`."""
    return json.dumps(plain(value), indent=1, allow_nan=False)


def plain(value: object) -> object:
    """The value as mappings, lists, text, numbers, booleans and None.

    An infinity becomes "inf" or "-inf", a NaN "nan", as Python's `float` reads them back; any other object becomes its `str`.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case Mapping():
            return {str(plain(key)): plain(part) for key, part in value.items()}
        case Iterable():
            return [plain(part) for part in value]
    return str(value)
