"""Which numbers a setting takes: checked where the setting is made, and refused by its name."""

import math
from collections.abc import Callable
from typing import Any

import attrs

from tta_core.errors import InputError

Validator = Callable[[object, Any, Any], None]


def at_least(bound: int) -> Validator:
    """Numbers from this one up."""
    return _checked(lambda value: value >= bound, f"of at least {bound}")


def above(bound: int) -> Validator:
    """Numbers above this one."""
    return _checked(lambda value: value > bound, f"above {bound}")


def share(instance: object, attribute: "attrs.Attribute[Any]", value: float | int) -> None:
    """Numbers in [0, 1)."""
    _checked(lambda value: 0 <= value < 1, "in [0, 1)")(instance, attribute, value)


def _checked(holds: Callable[[float], bool], range_: str) -> Validator:
    def check(instance: object, attribute: "attrs.Attribute[Any]", value: float | int) -> None:
        if not (math.isfinite(value) and holds(value)):
            raise InputError(f"{type(instance).__name__}.{attribute.name} is {value}, outside its range: give a number {range_}.")

    return check
