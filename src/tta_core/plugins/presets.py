"""Presets: class methods without arguments that make an instance with other defaults, such as `NullTTA.fast`, registered by a name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs


def class_of(target: object) -> type | None:
    """The target if it is a class, or the class of a preset; None for anything else."""
    owner = target.__self__ if inspect.ismethod(target) else target
    return owner if isinstance(owner, type) else None


def changes(target: object) -> dict[str, Any]:
    """The settings in which a preset differs from its class's defaults; empty for a class, or for a class that does not use attrs."""
    cls: Any = class_of(target)
    if target is cls or not attrs.has(cls):
        return {}
    made, plain = cast(Callable[[], object], target)(), cls()
    names = {field.alias: field.name for field in attrs.fields(cls) if field.init}
    return {alias: getattr(made, name) for alias, name in names.items() if getattr(made, name) != getattr(plain, name)}


def make(target: object, settings: Mapping[str, Any]) -> object:
    """An instance of a class or a preset with these settings. They take precedence over the preset's; its other settings stay."""
    cls = class_of(target)
    if cls is None or target is cls or not settings:
        return cast(Callable[..., object], target)(**settings)
    return cls(**{**changes(target), **settings})
