"""Validators of settings and arguments: types, ranges, and messages that name the setting."""

import math
import operator
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, cast

import attrs

from tta_core.errors import InputError

if TYPE_CHECKING:
    import torch

Validator = Callable[[object, Any, Any], None]


def whole(name: str, value: object) -> int:
    """A whole number of at most 64 bits, also numpy's. Raises `InputError` for anything else, including booleans."""
    try:
        made = operator.index(cast(SupportsIndex, value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} is {shown(value)}, but it takes a whole number, such as 8.") from error
    if isinstance(value, bool) or made.bit_length() > 63:
        raise InputError(f"{name} is {shown(value)}, but it takes a whole number of at most 64 bits, such as 8.")
    return made


def number(name: str, value: object) -> float:
    """A finite number, also numpy's. Raises `InputError` for anything else, including text."""
    if isinstance(value, SupportsFloat) and not isinstance(value, str | bytes | bool):
        try:
            made = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            made = math.nan
        if math.isfinite(made):
            return made
    raise InputError(f"{name} is {shown(value)}, but it takes a finite number, such as 0.8.")


def shown(value: object) -> str:
    """The short text of a value for a message; it never raises."""
    try:
        return f"{value!r:.100}" if not isinstance(value, int) or value.bit_length() < 256 else f"a number of {value.bit_length()} bits"
    except Exception as error:
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"


def written(thing: object) -> str:
    """A part's whole `repr` for a record; it never raises."""
    try:
        return repr(thing)
    except Exception as error:
        return f"a {type(thing).__name__} whose repr raises {type(error).__name__}"


def error_text(error: BaseException) -> str:
    """The class and the text of an error, for a message; it never raises."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as second:
        return f"{type(error).__name__}, whose text raises {type(second).__name__}"


def raised_at(error: BaseException) -> str:
    """The file and the line where an error was raised."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    return f"{frame.f_code.co_filename}:{line}"


def several(name: str, value: object) -> tuple[Any, ...] | None:
    """The elements of a collection; None for a single value: a number, a text, an array without dimensions.

    Raises:
        InputError: if it has a length but cannot be iterated over.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return None
    try:
        return tuple(value)
    except Exception as error:
        raise InputError(f"{name} is {shown(value)}, whose elements cannot be read: {error}. Give a list.") from error


def of_kind(name: str, value: object, kind: type) -> None:
    """Raises `InputError` unless the value is None or an instance of that class; for a protocol, the message lists the missing methods."""
    if value is None or (isinstance(value, kind) and not isinstance(value, type)):
        return
    protocols = [base for base in kind.__mro__ if getattr(base, "_is_protocol", False)]
    members = sorted({name for base in protocols for name in vars(base) if name == "__call__" or not name.startswith("_")})
    missing = [member for member in members if not hasattr(value, member)]
    why = f"it has no {', '.join(missing)}" if missing and not isinstance(value, type) else f"it takes one of {kind.__name__}"
    what = "the class" if isinstance(value, type) else "of type"
    raise InputError(
        f"{name} is {what} {(value if isinstance(value, type) else type(value)).__name__}, but {why}. Leave it out, or give one."
    )


def require_numbers(name: str, tensor: "torch.Tensor") -> None:
    """Raises `InputError` for a tensor that is sparse, without data, not of real numbers, or not finite."""
    if tensor.is_sparse or tensor.is_meta or not tensor.is_floating_point():
        layout = "sparse" if tensor.is_sparse else "on meta, without data" if tensor.is_meta else str(tensor.dtype)
        raise InputError(f"{name} is {layout}, but it takes a dense tensor of floats.")
    if not tensor.float().isfinite().all():
        raise InputError(f"{name} hold a NaN or an infinity. Give standard normal noise.")


def as_prompts(prompts: str | Sequence[str], name: str = "prompts") -> tuple[str, ...]:
    """One prompt or several, as a tuple. Raises `InputError` if there is none, or if one is not a text."""
    given = (prompts,) if isinstance(prompts, str) else several(name, prompts)
    if given is None:
        raise InputError(f"{name} takes a text or a list of texts, but it is {shown(prompts)}. Give one text, or a list of them.")
    prompts = given
    if not prompts:
        raise InputError("There is no prompt. Give one text, or a list of at least one.")
    for wrong in (prompt for prompt in prompts if not isinstance(prompt, str)):
        raise InputError(f"A prompt must be a text, but one is {shown(wrong)} ({type(wrong).__name__}). Give texts.")
    for prompt in prompts:
        _unicode("prompt", prompt)
    return prompts


def as_negatives(negative: str | Sequence[str] | None, samples: int) -> tuple[str | None, ...]:
    """A negative prompt for each sample; one text is used for all, None means none. Raises `InputError` for a wrong number of them."""
    if negative is None or isinstance(negative, str):
        _unicode("negative prompt", negative or "")
        return (negative,) * samples
    if not isinstance(negative, Sequence) or isinstance(negative, bytes):
        raise InputError(
            f"negative takes a text or a list of texts, but it is {shown(negative)}. Give one for all, or one for each prompt."
        )
    if len(negative) != samples:
        raise InputError(f"{len(negative)} negative prompts for {samples} prompts. Give one for all, or one for each prompt.")
    wrong = next((text for text in negative if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError(f"negative holds {shown(wrong)}, but a negative prompt is a text. Give texts, or None for no negative prompt.")
    for text in negative:
        _unicode("negative prompt", text or "")
    return tuple(negative)


def _unicode(what: str, text: str) -> None:
    """Raises `InputError` for a text with half a surrogate pair, which comes from bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The {what} {text!r} is not UTF-8. Read it as UTF-8; on a command line, set the terminal to UTF-8.") from error


def at_least(bound: int) -> Validator:
    """Validates that a number is at least `bound`."""
    return _checked(lambda value: value >= bound, f"of at least {bound}")


def above(bound: int) -> Validator:
    """Validates that a number is above `bound`."""
    return _checked(lambda value: value > bound, f"above {bound}")


def within(low: float | int, high: float | int) -> Validator:
    """Validates that a number lies in [low, high]."""
    return _checked(lambda value: low <= value <= high, f"of at least {low:g} and at most {high:g}")


def share(instance: object, attribute: "attrs.Attribute[Any]", value: float | int) -> None:
    """Validates that a number lies in [0, 1)."""
    _checked(lambda value: 0 <= value < 1, "in [0, 1)")(instance, attribute, value)


def _checked(holds: Callable[[float], bool], range_: str) -> Validator:
    def check(instance: object, attribute: "attrs.Attribute[Any]", value: float | int) -> None:
        if not (abs(value) < math.inf and holds(value)):
            raise InputError(f"{type(instance).__name__}.{attribute.name} is {value}, outside its range: give a number {range_}.")

    return check
