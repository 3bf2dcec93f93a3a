"""One registered name, checked when it is registered, so that the error names the plugin that registered it."""

import importlib
import re
from operator import attrgetter

import attrs

from tta_core.errors import InputError, LoadError
from tta_core.plugins.isolation import isolated, stdout_protected
from tta_core.values.arguments import error_text

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_TARGET = re.compile(r"[\w.]+:\w+(\.\w+)?")
_CLASS = re.compile(r"[A-Za-z_]\w*")


@attrs.frozen
class Entry:
    """One registered name: its target, and the plugin and distribution that registered it."""

    kind: str
    name: str
    target: object
    summary: str
    pipelines: tuple[str, ...]
    plugin: str

    def load(self) -> object:
        """The class, preset, factory or function itself. Raises `LoadError`, which names the plugin, if its module cannot be imported."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        with isolated(self._unreadable), stdout_protected():
            return attrgetter(attribute)(importlib.import_module(module))

    def _unreadable(self, error: BaseException) -> LoadError:
        return LoadError(
            f"The {self.kind} entry {self.name!r} of {self.plugin} could not be imported from {self.target!r}: "
            f"{error_text(error)}. Other names still work; `tta doctor` lists what is broken."
        )


def checked(entry: Entry) -> Entry:
    """The entry. Raises `InputError`, which names the plugin, the argument and its value, if an argument has not the documented form."""
    target, pipelines = entry.target, entry.pipelines
    if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name):
        raise _refusal(entry, "name", entry.name, "lower-case letters, digits, '-', '.' and '+', such as 'local-contrast'")
    if isinstance(target, str) and not _TARGET.fullmatch(target):
        raise _refusal(entry, "target", target, "'module:attribute', such as 'tta_local_contrast:LocalContrast'")
    if not isinstance(target, str) and not callable(target):
        raise _refusal(entry, "target", target, "a class, a function or 'module:attribute'")
    if not isinstance(entry.summary, str) or len(entry.summary.splitlines()) > 1:
        raise _refusal(entry, "summary", entry.summary, "one line of text")
    if not isinstance(pipelines, tuple) or not all(isinstance(name, str) and _CLASS.fullmatch(name) for name in pipelines):
        raise _refusal(entry, "pipelines", pipelines, "a tuple of class names, such as ('FluxPipeline',)")
    if pipelines and entry.kind != "backbones":
        raise _refusal(entry, "pipelines", pipelines, "none: only backbones adapt pipelines")
    return entry


def _refusal(entry: Entry, argument: str, value: object, expected: str) -> InputError:
    return InputError(
        f"{entry.plugin} registered {entry.name!r:.60} among the {entry.kind}, with the {argument} {value!r:.100}; give {expected}."
    )
