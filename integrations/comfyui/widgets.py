"""Converts the settings of a registered part to ComfyUI's widgets, and the widgets' values to texts for `tta align --set`."""

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from tta_plugins.cli.settings import Setting

Widget = tuple[str | list[str], dict[str, Any]]
LARGEST = 2**31 - 1


def widget(setting: Setting) -> Widget:
    """A number, a switch, a list of choices, or a text with the syntax of `--set`: `Window(0.5, 1)`, `None`, a path."""
    default, choices = setting.value, _choices(setting.annotation)
    options: dict[str, Any] = {"tooltip": _tooltip(setting)}
    if setting.default and choices:
        return choices, {"default": str(default), **options}
    if setting.annotation is bool and isinstance(default, bool):
        return "BOOLEAN", {"default": default, **options}
    if setting.annotation is int and isinstance(default, int):
        return "INT", {"default": default, "min": -LARGEST, "max": LARGEST, **options}
    if setting.annotation is float and isinstance(default, float) and math.isfinite(default):
        step = 10.0 ** (math.floor(math.log10(abs(default))) - 1) if default else 0.01
        # without round=False, ComfyUI rounds to its own number of digits
        return "FLOAT", {"default": default, "min": -1e12, "max": 1e12, "step": step, "round": False, **options}
    return "STRING", {"default": str(default), **options}


def changed(widgets: Mapping[str, Widget], given: Mapping[str, object]) -> dict[str, str]:
    """The values that differ from their widget's default, as texts. An empty text means the default."""
    kept = {name: options["default"] for name, (_, options) in widgets.items()}
    return {name: str(value) for name, value in given.items() if str(value).strip() and not (name in kept and value == kept[name])}


def _choices(annotation: object) -> list[str]:
    """The values of a `Literal`, or of an optional one; empty for other annotations."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(map(str, typing.get_args(annotation)))
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return []
    parts = typing.get_args(annotation)
    chosen = [choices for part in parts if (choices := _choices(part))]
    return ["None", *chosen[0]] if len(parts) == 2 and chosen and type(None) in parts else []


def _tooltip(setting: Setting) -> str:
    return f"{setting.type or 'any'}; {f'default {setting.default}' if setting.default else 'must be given'}"
