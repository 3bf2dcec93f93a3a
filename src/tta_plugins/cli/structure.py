"""From text on the command line to a plugin with these settings, each value checked against its field's type."""

import inspect
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import attrs
import cattrs

from tta_core.errors import InputError
from tta_core.plugins.registry import Entry
from tta_plugins.cli.expressions import value_of
from tta_plugins.cli.settings import Setting, settings_of
from tta_plugins.cli.suggestions import one_of

_REFUSALS = (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError, TypeError, ValueError)


def construct(entry: Entry, chosen: Mapping[str, str]) -> object:
    """What the name stands for, made with these settings. Raises `InputError` for a value that its field does not take."""
    target = entry.load()
    settings = settings_of(target)
    if chosen and not settings:
        raise InputError(f"{entry.name} (from {entry.plugin}) has no settings, so --set {', '.join(chosen)} cannot be used with it.")
    values = {}
    for name, text in chosen.items():
        setting = settings[one_of(name, settings, f"setting of {entry.name} (from {entry.plugin})")]
        values[setting.name] = _structured(text, setting, entry, _classes(target, setting.annotation))
    missing = [name for name, setting in settings.items() if not setting.default and name not in values]
    if missing:
        raise InputError(f"{entry.name} (from {entry.plugin}) cannot be made without {', '.join(missing)}: give each with --set.")
    return target(**values) if isinstance(target, type) else target


def _structured(text: str, setting: Setting, entry: Entry, classes: Mapping[str, type]) -> object:
    value = value_of(text, classes)
    if _is_text(setting.annotation) and value is not None:
        value = text
    try:
        return _CONVERTER.structure(value, setting.annotation)
    except _REFUSALS as error:
        raise InputError(
            f"{setting.name} of {entry.name} (from {entry.plugin}) is {setting.type}, but {text!r} was given. "
            f"Its default is {setting.default or 'none: it must be given'}; `tta show {entry.name}` lists its settings."
        ) from error


def _classes(target: object, annotation: Any) -> dict[str, type]:
    """The value classes that may be written: those beside the field's own type (schedules beside `Schedule`), and the plugin's own."""
    homes = {getattr(thing, "__module__", None) for thing in (target, annotation, *typing.get_args(annotation))}
    known = [value for home in homes if home in sys.modules for value in vars(sys.modules[home]).values()]
    classes = [value for value in known if isinstance(value, type) and attrs.has(value) and value.__module__ in homes]
    return {cls.__name__: cls for cls in classes if not cls.__name__.startswith("_") and cls is not target}


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _is_literal(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Literal


def _is_text(annotation: Any) -> bool:
    return annotation in (str, Path) or (_is_union(annotation) and any(_is_text(arm) for arm in typing.get_args(annotation)))


def _one_arm(value: object, annotation: Any) -> object:
    for arm in typing.get_args(annotation):
        try:
            return _CONVERTER.structure(value, arm)
        except _REFUSALS:
            continue
    raise TypeError(f"{value!r} is none of {annotation}")


def _number(value: object, annotation: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _exactly(value: object, annotation: type) -> object:
    if type(value) is not annotation:
        raise TypeError(f"{value!r} is not {annotation.__name__}")
    return value


def _listed(value: object, annotation: Any) -> object:
    if value not in typing.get_args(annotation):
        raise TypeError(f"{value!r} is none of {annotation}")
    return value


def _instance(value: object, annotation: type) -> object:
    if not isinstance(value, annotation):
        raise TypeError(f"{value!r} is not {annotation.__name__}")
    return value


def _is_checked_by_instance(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation not in (str, int, float, bool, Path, tuple, list, dict, type(None))


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook_func(_is_checked_by_instance, _instance)
    converter.register_structure_hook_func(lambda annotation: annotation is inspect.Parameter.empty, lambda value, _: value)
    converter.register_structure_hook_func(_is_union, _one_arm)
    converter.register_structure_hook_func(_is_literal, _listed)
    converter.register_structure_hook(float, _number)
    for exact in (int, bool, str, type(None)):
        converter.register_structure_hook(exact, _exactly)
    return converter


_CONVERTER = _converter()
