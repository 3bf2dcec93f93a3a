"""What the page offers for each setting of a registered class: a box of its type with its default and its own documentation."""

import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from tta_core.plugins.presets import class_of
from tta_core.plugins.registry import Entry
from tta_plugins.cli.settings import Setting, settings_of
from tta_plugins.cli.structure import examples

Kind = Literal["check", "choice", "whole", "number", "text"]
_ATTRIBUTE = re.compile(r"(?P<names>\w+(?:, \w+)*)(?: \([^)]*\))?: (?P<text>.*)")


@attrs.frozen
class Control:
    """A setting as a box on the page.

    Attributes:
        kind: "choice" takes one of `choices` alone, "text" anything that `--set` takes, of which `choices` are examples.
        default: what the box has at first: a truth value, a number or a text; None where a value must be given.
        about: what the plugin's docstring says of it.
    """

    name: str
    kind: Kind
    default: bool | int | float | str | None
    choices: tuple[str, ...] = ()
    about: str = ""

    def written(self, value: object) -> str | None:
        """A box's value as `--set` takes it; None where it is empty, or still the default."""
        text = value.strip() if isinstance(value, str) else value
        if text is None or text == "" or text == self.default:
            return None
        return str(_whole(text) if self.kind == "whole" else text)


def _whole(value: Any) -> Any:
    """A whole number that the browser sent as a float; anything else as it is, for its reader to refuse."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def controls_of(entry: Entry) -> list[Control]:
    """A box for each setting of what the name stands for, in the class's order. Raises `LoadError` where it cannot be imported."""
    target = entry.load()
    about = documented(inspect.getdoc(class_of(target) or target) or "")
    return [_control(target, setting, about.get(setting.name, "")) for setting in settings_of(target).values()]


def _control(target: object, setting: Setting, about: str) -> Control:
    annotation, default = setting.annotation, setting.value
    if annotation is bool and isinstance(default, bool):
        return Control(setting.name, "check", default, about=about)
    if annotation in (int, float) and isinstance(default, int | float):
        return Control(setting.name, "whole" if annotation is int else "number", default, about=about)
    words = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    if default in words and all(isinstance(word, str) for word in words):
        return Control(setting.name, "choice", default, words, about)
    shown = default if isinstance(default, str) else setting.default
    offered = tuple(dict.fromkeys([shown, *examples(target, annotation)]))
    return Control(setting.name, "text", shown or None, offered if len(offered) > 1 else (), about or setting.type)


def documented(docstring: str) -> Mapping[str, str]:
    """What a docstring's "Attributes:" or "Args:" say of each name; names that share a line share its text."""
    said: dict[str, str] = {}
    section = re.search(r"^(?:Attributes|Args):\n((?:[ \t]+.*\n|\n(?=[ \t]))*)", f"{docstring}\n", re.MULTILINE)
    lines = inspect.cleandoc(section[1]).splitlines() if section else []
    names: list[str] = []
    for line in lines:
        found = _ATTRIBUTE.fullmatch(line)
        if found:
            names = found["names"].split(", ")
            said |= dict.fromkeys(names, found["text"].strip())
        elif line.strip():
            said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return said
