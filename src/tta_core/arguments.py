"""Numbers as users give them, checked where they enter."""

import math
import operator
from typing import SupportsFloat, SupportsIndex, cast

from tta_core.errors import InputError


def whole(name: str, value: object) -> int:
    """A whole number, numpy's too. Raises `InputError` for anything else."""
    try:
        return operator.index(cast(SupportsIndex, value))
    except TypeError as error:
        raise InputError(f"{name} is {value!r}, but it takes a whole number, such as 8.") from error


def number(name: str, value: object) -> float:
    """A finite number, numpy's too. Raises `InputError` for anything else, text among it."""
    if isinstance(value, SupportsFloat) and not isinstance(value, str) and math.isfinite(value):
        return float(value)
    raise InputError(f"{name} is {value!r}, but it takes a finite number, such as 0.8.")
