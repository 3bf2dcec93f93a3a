"""The settings of a registered class or factory: its fields, with their types and defaults."""

import ast
import inspect
import typing
from types import SimpleNamespace
from typing import Any

import attrs

from tta_core.errors import LoadError
from tta_core.plugins.presets import changes, class_of
from tta_core.values.arguments import error_text
from tta_core.values.provenance import describe


@attrs.frozen
class Setting:
    """One field of a plugin. `default` is the default's repr; empty if a value must be given."""

    name: str
    annotation: Any
    default: str

    @property
    def type(self) -> str:
        """The annotation as source code."""
        return "" if self.annotation is inspect.Parameter.empty else inspect.formatannotation(self.annotation)

    @property
    def value(self) -> Any:
        """The default itself if its repr is a literal; else the repr."""
        try:
            return ast.literal_eval(self.default)
        except (ValueError, SyntaxError):
            return self.default


def settings_of(target: Any) -> dict[str, Setting]:
    """The settings by name: fields of an attrs class, parameters of any other class. A preset has those of its class, with other defaults.

    A plain function has none. Raises `LoadError`, which names the class and its package, if its defaults or its signature raise.
    """
    try:
        return _settings_of(target)
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"The settings of {describe(target)} cannot be read: {error_text(error)}. Report it to the author of that class."
        ) from error


def _settings_of(target: Any) -> dict[str, Setting]:
    cls = class_of(target)
    if cls is None:
        return {}
    if target is not cls:
        changed = {name: repr(value) for name, value in changes(target).items()}
        settings = _settings_of(cls) if attrs.has(cls) else {}
        return {name: attrs.evolve(each, default=changed.get(name, each.default)) for name, each in settings.items()}
    if attrs.has(cls):
        hints = _hints(cls)
        fields = [field for field in attrs.fields(cls) if field.init]
        return {field.alias: Setting(field.alias, hints.get(field.name, field.type), _default(cls, field)) for field in fields}
    start: Any = inspect.getattr_static(cls, "__init__")
    if start is object.__init__:
        return {}
    hints = _hints(start)
    parameters = inspect.signature(cls).parameters.values()
    named = [parameter for parameter in parameters if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)]
    return {p.name: Setting(p.name, hints.get(p.name, p.annotation), "" if p.default is p.empty else repr(p.default)) for p in named}


def _hints(annotated: Any) -> dict[str, Any]:
    """The annotations by name; none if one names something that was imported for type checkers only."""
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except NameError:
        return {}


def _default(cls: type, field: "attrs.Attribute[Any]") -> str:
    if field.default is attrs.NOTHING:
        return ""
    default: Any = field.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return repr(default)
    if not default.takes_self:
        return repr(default.factory())
    plain = {each.name: each.default for each in attrs.fields(cls) if not isinstance(each.default, attrs.Factory)}  # type: ignore[arg-type]
    try:
        return repr(default.factory(SimpleNamespace(**plain)))
    except Exception:  # it needs a field without a default
        return f"computed by {cls.__name__}"
