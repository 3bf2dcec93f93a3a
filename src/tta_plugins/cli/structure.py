"""Builds a plugin with settings from the command line, and checks each value against its field's type."""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from beartype.door import is_bearable
from beartype.roar import BeartypeException

from tta_core.errors import InputError, TTAError
from tta_core.plugins.presets import class_of, make
from tta_core.plugins.registry import Entry
from tta_core.values.arguments import error_text
from tta_plugins.cli.expressions import value_of
from tta_plugins.cli.settings import settings_of
from tta_plugins.cli.suggestions import one_of


def construct(entry: Entry, chosen: Mapping[str, str]) -> object:
    """The registered object, built with these settings. Raises `InputError` for a value that does not fit its field."""
    target = entry.load()
    settings = settings_of(target)
    name, origin = entry.name, f"{entry.name} (from {entry.plugin})"
    if chosen and not settings:
        raise InputError(f"{origin} has no settings. Leave out --set {', '.join(chosen)}.")
    values = {}
    for field, text in chosen.items():
        setting = settings[one_of(field, settings, f"setting of {origin}")]
        try:
            values[field] = _fitting(value_of(text, _classes(target, setting.annotation)), text, setting.annotation)
        except TypeError as error:
            raise InputError(
                f"{field} of {origin} must be {setting.type or 'any'}, but is {text!r}. Its default is "
                f"{setting.default or 'none: it must be given'}. `tta show {name}` lists its settings."
            ) from error
    missing = [field for field, setting in settings.items() if not setting.default and field not in values]
    if missing:
        raise InputError(f"{origin} needs {', '.join(missing)}. Give each with --set.")
    return target if class_of(target) is None else _made(target, values, origin)


def examples(target: object, annotation: Any) -> list[str]:
    """Examples for a field of this type: the `repr` of each value class that needs no argument."""
    made = []
    for cls in _classes(target, annotation).values():
        try:
            value = cls()
        except Exception:  # it needs arguments, or is a protocol
            continue
        made += [repr(value)] if _fits(value, annotation) else []
    return made


def _made(target: object, values: Mapping[str, object], origin: str) -> object:
    try:
        return make(target, values)
    except TTAError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{field}={value!r}" for field, value in values.items())
        raise InputError(
            f"{origin} cannot be built with {given or 'its defaults'}: {error_text(error)}. Give other settings with --set."
        ) from error


def _fitting(value: object, text: str, annotation: Any) -> object:
    """The value converted for its field: an integer to `float`, a list to a tuple, a text to a path. Raises `TypeError`."""
    return next(form for form in _forms(value, text, annotation) if _fits(form, annotation))


def _forms(value: object, text: str, annotation: Any) -> Iterator[object]:
    parts = typing.get_args(annotation)
    if isinstance(value, tuple | list) and typing.get_origin(annotation) in (tuple, list):
        kinds = parts * len(value) if len(parts) == 1 else parts[:1] * len(value) if parts[1:] == (...,) else parts
        if len(kinds) == len(value):
            yield typing.get_origin(annotation)(_fitting(part, repr(part), kind) for part, kind in zip(value, kinds, strict=True))
    yield value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < sys.float_info.max:
        yield float(value)
    yield text
    yield Path(text)
    raise TypeError(f"{text!r} is not {annotation}")


def _fits(value: object, annotation: Any) -> bool:
    """Whether the value fits a field of this type. A boolean is not a number. If nothing is known of the type, its class checks."""
    if annotation in (inspect.Parameter.empty, Any, object):
        return True
    try:
        if isinstance(value, bool) and is_bearable(2, annotation):
            return bool in typing.get_args(annotation)
        return is_bearable(value, annotation)
    except BeartypeException:
        return True


def _classes(target: object, annotation: Any) -> dict[str, type]:
    """The value classes that can be given: those of the type's module (for `Schedule`, all schedules) and those of the plugin's package
    that its module imports."""
    homes = {getattr(thing, "__module__", None) for thing in (target, annotation, *typing.get_args(annotation))}
    package = str(getattr(target, "__module__", "")).partition(".")[0]
    known = [value for home in homes if home in sys.modules for value in vars(sys.modules[home]).values()]
    own = [value for value in known if isinstance(value, type) and (value.__module__ in homes or _is_of(package, value))]
    values = [cls for cls in own if (attrs.has(cls) or dataclasses.is_dataclass(cls)) and cls is not target]
    return {cls.__name__: cls for cls in values if not cls.__name__.startswith("_")}


def _is_of(package: str, cls: type) -> bool:
    return package != "tta_plugins" and cls.__module__.partition(".")[0] == package
