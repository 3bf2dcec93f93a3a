"""Names to things, imported when first used; a near-miss is offered, a collision is an error, nothing is renamed."""

import difflib
import importlib
from collections.abc import Iterator, Sequence

import attrs

from tta_core.errors import LoadError, UnknownNameError

KINDS = ("backbones", "schedulers", "rewards", "methods", "memory")


@attrs.frozen
class Entry:
    """One registered name: what it stands for, and which plugin of which distribution said so."""

    kind: str
    name: str
    target: object
    summary: str
    pipelines: tuple[str, ...]
    plugin: str

    def load(self) -> object:
        """The class, factory or function itself. Raises `LoadError` naming the plugin if its module cannot be imported."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise LoadError(
                f"The {self.kind} entry {self.name!r} of {self.plugin} could not be imported from {self.target!r}: "
                f"{type(error).__name__}: {error}. Other names still work; `tta doctor` lists what is broken."
            ) from error


@attrs.define
class Registry:
    """Everything registered, by kind and name; `broken` are the plugins that could not register theirs."""

    _entries: dict[tuple[str, str], Entry] = attrs.field(factory=dict)
    collisions: list[str] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)

    def add(self, entry: Entry) -> None:
        """Add an entry. A name that another plugin took already makes both unusable by that name, and says so when asked for."""
        taken = self._entries.get((entry.kind, entry.name))
        if taken is None:
            self._entries[entry.kind, entry.name] = entry
            return
        self.collisions.append(
            f"Two plugins register the {entry.kind} name {entry.name!r}: {taken.plugin} and {entry.plugin}. "
            "Neither is taken: block one with TTA_PLUGINS_BLOCK, or import the class and pass the object."
        )
        self._entries[entry.kind, entry.name] = attrs.evolve(taken, target=Collision(self.collisions[-1]))

    def entries(self, kind: str) -> Iterator[Entry]:
        """The entries of one kind, by name."""
        return (self._entries[key] for key in sorted(self._entries) if key[0] == kind)

    def find(self, kind: str, name: str) -> Entry:
        """The entry of that name. Raises `UnknownNameError` with the nearest names."""
        entry = self._entries.get((kind, name))
        if entry is None:
            hint = nearest(name, [known.name for known in self.entries(kind)])
            missing = f" Nothing is registered by {', '.join(self.broken)}: `tta doctor` says why." if self.broken else ""
            raise UnknownNameError(f"No {kind} entry is called {name!r}. {hint} `tta list {kind}` lists them all.{missing}")
        if isinstance(entry.target, Collision):
            raise LoadError(entry.target.message)
        return entry

    def create(self, kind: str, name: str) -> object:
        """What the name stands for, made with its defaults. A plain function is itself as a reward, and a factory otherwise."""
        entry = self.find(kind, name)
        loaded = entry.load()
        if not callable(loaded) or (kind == "rewards" and not isinstance(loaded, type)):
            return loaded
        try:
            return loaded()
        except TypeError as error:
            raise LoadError(
                f"The {kind} entry {name!r} of {entry.plugin} could not be made with its defaults: {error}. Make it yourself and pass "
                "it; a backbone that adapts a pipeline is given the pipeline, its folder or its hub id instead of a name."
            ) from error


def nearest(name: str, known: Sequence[str]) -> str:
    """The known names that come near, as a question; all of them where none does."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(known) or 'none'}."


@attrs.frozen
class Collision:
    """Stands where two plugins claim one name."""

    message: str
