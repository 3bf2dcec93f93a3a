"""A preset: a class method that makes its class with other settings, such as `NullTTA.fast`, and is registered under a name of its own."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs


def class_of(target: object) -> type | None:
    """The class itself, or the class whose preset it is; None for anything else."""
    owner = target.__self__ if inspect.ismethod(target) else target
    return owner if isinstance(owner, type) else None


def changes(target: object) -> dict[str, Any]:
    """The settings in which a preset differs from its class's defaults; none for a class, or without attrs."""
    cls: Any = class_of(target)
    if target is cls or not attrs.has(cls):
        return {}
    made, plain = cast(Callable[[], object], target)(), cls()
    names = {field.alias: field.name for field in attrs.fields(cls) if field.init}
    return {alias: getattr(made, name) for alias, name in names.items() if getattr(made, name) != getattr(plain, name)}


def make(target: object, settings: Mapping[str, Any]) -> object:
    """One of a class, or of a preset, with these settings; what a preset changes stays, unless a setting says otherwise."""
    cls = class_of(target)
    if cls is None or target is cls or not settings:
        return cast(Callable[..., object], target)(**settings)
    return cls(**{**changes(target), **settings})
