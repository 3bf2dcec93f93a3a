"""Arguments as users give them, checked where they enter; and the ranges of a setting, checked where it is made."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsFloat, SupportsIndex, cast

import attrs

from tta_core.errors import InputError

Validator = Callable[[object, Any, Any], None]


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


def of_kind(name: str, value: object, kind: type) -> None:
    """Raises `InputError` for a value that is given and not of that kind."""
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{name} is of type {type(value).__name__}, but it takes one of {kind.__name__}. Leave it out, or give one.")


def as_prompts(prompts: str | Sequence[str]) -> tuple[str, ...]:
    """One prompt or several, as a tuple. Raises `InputError` for none, or for what is not text."""
    if not isinstance(prompts, Iterable):
        raise InputError(f"Prompts are a text or several, but this is {prompts!r}. Give one text, or a list of them.")
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if not prompts:
        raise InputError("There is no prompt. Give one text, or a list of at least one.")
    wrong = next((prompt for prompt in prompts if not isinstance(prompt, str)), None)
    if wrong is not None:
        raise InputError(f"A prompt is a text, but one is {wrong!r} ({type(wrong).__name__}).")
    return prompts


def as_negatives(negative: str | Sequence[str] | None, samples: int) -> tuple[str | None, ...]:
    """A negative prompt for each sample; one text serves all, None is none. Raises `InputError` for another number of them."""
    if negative is None or isinstance(negative, str):
        return (negative,) * samples
    if not isinstance(negative, Sequence):
        raise InputError(f"Negative prompts are a text or several, but negative is {negative!r}. Give one for all, or one for each prompt.")
    if len(negative) != samples:
        raise InputError(f"{len(negative)} negative prompts for {samples} prompts. Give one for all, or one for each prompt.")
    return tuple(negative)


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
