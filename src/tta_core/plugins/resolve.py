"""Resolves a name or an object that a user gives to the part that a run needs."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from tta_core.errors import InputError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import Registry
from tta_core.protocols.backbone import Backbone, Defaults
from tta_core.protocols.memory import MemoryPolicy
from tta_core.protocols.method import Method, Needs
from tta_core.protocols.reward import Reward
from tta_core.values.arguments import shown
from tta_core.values.provenance import describe, name_of


def backbone(source: object) -> Backbone:
    """The backbone for a registered name, a folder or hub id in diffusers' layout, a loaded diffusers pipeline, or a `Backbone`.

    A pipeline is recognised by the names of its classes, so subclasses work, and diffusers need not be imported.

    Raises:
        InputError: the source is none of these.
    """
    registry = plugins().registry
    named = isinstance(source, str) and source in {entry.name for entry in registry.entries("backbones")}
    if isinstance(source, str) and (named or not (os.path.isdir(source) or "/" in source)):
        return backbone(registry.create("backbones", source))
    if isinstance(source, str | Path):
        load = cast(Callable[[str], object], registry.find("backbones", "diffusers").load())
        return backbone(load(str(source)))
    classes = [cls.__name__ for cls in type(source).__mro__]
    adapter = next((entry for entry in map(registry.adapter, classes) if entry is not None), None)
    if adapter is not None:
        return cast(Callable[[object], Backbone], adapter.load())(source)
    if isinstance(source, Backbone) and not isinstance(source, type):
        if not isinstance(source.defaults, Defaults):
            raise InputError(f"{describe(source)} has the defaults {shown(source.defaults)}. Give it tta_core.Defaults(steps=...).")
        return source
    known = sorted(name for entry in registry.entries("backbones") for name in entry.pipelines)
    raise InputError(
        f"{name_of(source)} is not a backbone. Give a name (`tta list backbones`), a folder or hub id in diffusers' layout, a loaded "
        f"pipeline of one of {', '.join(known)}, or an object with the methods of tta_core.Backbone."
    )


def reward(source: object, backbone: Backbone) -> Reward:
    """The reward for a registered name, or any callable `(images, prompts) -> scores`. A backbone can replace the reward of a name by its
    own (`Defaults.rewards`)."""
    if isinstance(source, str):
        source = plugins().registry.create("rewards", backbone.defaults.rewards.get(source, source))
    if isinstance(source, type) or not callable(source):
        raise InputError(f"{shown(source)} is not a reward. Give a name (`tta list rewards`) or a function (images, prompts) -> scores.")
    return source


def remote_reward(
    python: str | Path,
    factory: str,
    settings: Mapping[str, object] | None = None,
    device: str = "cpu",
    timeout: float = 600.0,
    resident: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Reward:
    """A reward that runs in another Python environment, with gradients; see the registered reward "remote" for the arguments.

    Raises:
        LoadError: that Python, or the reward in it, does not start.
    """
    make = cast(Callable[..., Reward], plugins().registry.find("rewards", "remote").load())
    return make(python, factory, settings or {}, device, timeout, resident, environment or {})


def method(source: object) -> Method:
    """The method for a registered name, or the given `Method`. Raises `InputError` for anything else."""
    made = plugins().registry.create("methods", source) if isinstance(source, str) else source
    if isinstance(made, type) or not isinstance(made, Method):
        raise InputError(f"{shown(source)} is not a method. Give a name (`tta list methods`) or an instance, such as DATE(rho=0.5).")
    if not isinstance(made.needs, Needs):
        raise InputError(f"The method {describe(made)} has the needs {shown(made.needs)}. Give an instance: `needs = tta_core.Needs(...)`.")
    return made


def policies(source: object) -> tuple[MemoryPolicy, ...]:
    """The memory policies for a name, a policy, or a sequence of either; applied from left to right. A size such as "16GB" is a limit: the
    policy "auto" then chooses policies with which the run fits in it."""
    if isinstance(source, str) or not isinstance(source, Sequence):
        source = (source,)
    return tuple(_policy(item, plugins().registry) for item in source)


def _policy(source: object, registry: Registry) -> MemoryPolicy:
    limit = size_in_bytes(source) if isinstance(source, str) else None
    if limit is not None:
        return cast(Callable[[int], MemoryPolicy], registry.find("memory", "auto").load())(limit)
    made = registry.create("memory", source) if isinstance(source, str) else source
    if isinstance(made, type) or not isinstance(made, MemoryPolicy):
        raise InputError(
            f"{shown(source)} is not a memory policy. Give a name (`tta list memory`) or an instance, such as UpdateFraction(0.5)."
        )
    return made


def size_in_bytes(text: str) -> int | None:
    """The bytes of 16GB, 800 mb or 11.5GiB: decimal and binary units; None for a text that does not begin with a digit. Raises `InputError`
    for other sizes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])(i?)B", text, re.IGNORECASE)
    if found is None and text[:1].isdigit():
        raise InputError(f"{text!r} is not a size of memory. Write it as 16GB, 800MB or 11.5GiB.")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** (2 if found[2] in "Mm" else 3)) if found else None
