"""An input box for each setting of a registered class, with the setting's type, default and documentation."""

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
    """A setting's box on the page.

    Attributes:
        kind: "choice" accepts only one of `choices`; "text" accepts anything that `--set` does, with `choices` as examples.
        default: the initial value: a boolean, a number or a text; None if a value must be given.
        about: the setting's description in the plugin's docstring.
    """

    name: str
    kind: Kind
    default: bool | int | float | str | None
    choices: tuple[str, ...] = ()
    about: str = ""

    def written(self, value: object) -> str | None:
        """A box's value as text for `--set`; None if it is empty or the default."""
        text = value.strip() if isinstance(value, str) else value
        if text is None or text == "" or text == self.default:
            return None
        return str(_whole(text) if self.kind == "whole" else text)


def _whole(value: Any) -> Any:
    """The integer, if the browser sent it as a float; any other value unchanged, since the settings reader checks it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def controls_of(entry: Entry) -> list[Control]:
    """A box for each setting of the registered class, in its order. Raises `LoadError` if it cannot be imported."""
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
    """The description of each name in a docstring's "Attributes:" or "Args:". Names on the same line have the same text."""
    described: dict[str, str] = {}
    section = re.search(r"^(?:Attributes|Args):\n((?:[ \t]+.*\n|\n(?=[ \t]))*)", f"{docstring}\n", re.MULTILINE)
    lines = inspect.cleandoc(section[1]).splitlines() if section else []
    names: list[str] = []
    for line in lines:
        match = _ATTRIBUTE.fullmatch(line)
        if match:
            names = match["names"].split(", ")
            described |= dict.fromkeys(names, match["text"].strip())
        elif line.strip():
            described |= {name: f"{described[name]} {line.strip()}" for name in names}
    return described
