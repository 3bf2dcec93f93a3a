"""Finds plugins by the entry points of the group `tta` and loads each in isolation, so that a broken one does not affect the others.

`TTA_PLUGINS` (comma-separated distribution names) loads only the built-in plugins and those; `TTA_PLUGINS_BLOCK` loads all except those.
"""

import importlib.metadata
import inspect
import os
import re
from collections.abc import Iterable
from functools import cache, partial

import attrs
import pluggy

from tta_core.errors import InputError, LoadError
from tta_core.plugins import hookspecs
from tta_core.plugins.entry import Entry, checked
from tta_core.plugins.isolation import isolated, stdout_protected
from tta_core.plugins.registry import KINDS, Registry
from tta_core.values.arguments import error_text

GROUP = "tta"
OWN = "tta-align"
SELECTING_VARIABLES = ("TTA_PLUGINS", "TTA_PLUGINS_BLOCK")


@attrs.frozen
class Found:
    """One entry point: its package, its error (empty: none), and whether an environment variable excludes it."""

    name: str
    distribution: str
    version: str
    problem: str = ""
    blocked: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@attrs.define
class Plugins:
    """The loaded plugins, with their hooks and registered names; `found` also lists the broken and the blocked ones."""

    hooks: pluggy.PluginManager
    registry: Registry
    found: list[Found]


@cache
def plugins() -> Plugins:
    """All plugins of this environment, loaded once per process."""
    hooks = pluggy.PluginManager(GROUP)
    hooks.add_hookspecs(hookspecs)
    made = Plugins(hooks, Registry(), [])
    points, unreadable = _points()
    made.found.extend(unreadable)
    made.registry.broken.extend(map(str, unreadable))
    for point in points:
        made.found.append(_load(made, point))
    return made


def _points() -> tuple[Iterable[importlib.metadata.EntryPoint], list[Found]]:
    """The entry points of the group, and a record of each distribution whose entry_points.txt cannot be read."""
    try:
        return importlib.metadata.entry_points(group=GROUP), []
    except Exception:  # one malformed file, of any distribution
        points: list[importlib.metadata.EntryPoint] = []
        unreadable, seen = [], set()
        for distribution in importlib.metadata.distributions():
            name = _canonical(distribution.name or "unknown")
            if name in seen:
                continue
            seen.add(name)
            try:
                points.extend(distribution.entry_points.select(group=GROUP))
            except Exception as error:
                problem = f"its entry_points.txt cannot be read: {error_text(error)}. Install it again"
                unreadable.append(Found("entry points", name, distribution.version, problem))
        return points, unreadable


def _load(made: Plugins, point: importlib.metadata.EntryPoint) -> Found:
    known = point.dist  # an interrupted installation has no METADATA, and then no name
    found = Found(point.name, (known and known.name) or "unknown", (known and known.version) or "")
    if not _selected(found.distribution):
        return attrs.evolve(found, blocked=True)
    try:
        with isolated(lambda error: LoadError(error_text(error))), stdout_protected():
            plugin = point.load()
            if plugin is None:
                raise LoadError(f"the entry point {point.value!r} is None, but it must be a module with hooks")
            made.hooks.register(plugin, name=str(found))
            made.hooks.check_pending()
            if not made.hooks.get_hookcallers(plugin):
                raise LoadError(f"the entry point {point.value!r} has no hook: mark its functions tta_... with @tta_core.hookimpl")
            entries = _registered(made.hooks, plugin, str(found))
    except LoadError as error:
        if made.hooks.has_plugin(str(found)):
            made.hooks.unregister(name=str(found))
        made.registry.broken.append(str(found))
        return attrs.evolve(found, problem=str(error))
    for entry in entries:
        made.registry.add(entry)
    return found


def _registered(hooks: pluggy.PluginManager, plugin: object, who: str) -> list[Entry]:
    """The entries that one plugin registers; none if one of its hooks raises."""
    entries: list[Entry] = []
    others = [other for other in hooks.get_plugins() if other is not plugin]
    for kind in KINDS:
        caller = hooks.subset_hook_caller(f"tta_register_{kind}", remove_plugins=others)
        returned = caller(register=partial(register, entries, kind, who))
        if returned:
            if inspect.iscoroutine(returned[0]):
                returned[0].close()
            raise LoadError(
                f"its tta_register_{kind} returned {returned[0]!r:.60}, but it must call `register`: neither yield nor be async"
            )
    return entries


def register(
    entries: list[Entry], kind: str, who: str, name: str, target: object, summary: str = "", pipelines: tuple[str, ...] = ()
) -> None:
    """Checks an entry and adds it to `entries`. A plugin's hook gets this function with the first three arguments already set.

    Raises `InputError` if the plugin has registered the name before.
    """
    entry = checked(Entry(kind, name, target, summary, pipelines, who))
    if any((known.kind, known.name) == (kind, name) for known in entries):
        raise InputError(f"{who} registered {name!r} twice among the {kind}; give each its own name.")
    entries.append(entry)


def unmatched(found: Iterable[Found]) -> dict[str, list[str]]:
    """For each environment variable, the names in it to which no distribution with plugins belongs."""
    known = {_canonical(one.distribution) for one in found}
    return {variable: sorted(unknown) for variable in SELECTING_VARIABLES if (unknown := _names(variable) - known)}


def _selected(distribution: str) -> bool:
    only, block = map(_names, SELECTING_VARIABLES)
    name = _canonical(distribution)
    return name not in block and (not only or name == OWN or name in only)


def _names(variable: str) -> set[str]:
    return {_canonical(name.strip()) for name in os.environ.get(variable, "").split(",") if name.strip()}


def _canonical(distribution: str) -> str:
    """The normalised name, by which package indexes compare names."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
