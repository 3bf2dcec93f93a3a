"""Maps names to objects, imported at first use; an unknown name gets a suggestion, a name registered twice is an error."""

import difflib
from collections.abc import Iterator, Sequence

import attrs

from tta_core.errors import LoadError, TTAError, UnknownNameError
from tta_core.plugins.entry import Entry as Entry
from tta_core.plugins.isolation import isolated
from tta_core.plugins.presets import class_of
from tta_core.values.arguments import error_text

KINDS = ("backbones", "schedulers", "rewards", "methods", "memory")


@attrs.define
class Registry:
    """All registered entries, by kind and name. `broken` lists plugins whose registration failed; `disputed` has a message for each
    pipeline class that two backbones adapt."""

    _entries: dict[tuple[str, str], Entry] = attrs.field(factory=dict)
    collisions: list[str] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)
    disputed: dict[str, str] = attrs.field(factory=dict)

    def add(self, entry: Entry) -> None:
        """Add an entry. If another plugin has registered the name, neither can be used by it, and looking it up raises an error. If another
        backbone adapts the same pipeline class, neither is used for that class."""
        self._note_disputed(entry)
        taken = self._entries.get((entry.kind, entry.name))
        if taken is None:
            self._entries[entry.kind, entry.name] = entry
            return
        self.collisions.append(
            f"Two plugins register the {entry.kind} name {entry.name!r}: {taken.plugin} and {entry.plugin}. "
            "Neither is used: block one with TTA_PLUGINS_BLOCK, or import the class and pass the object."
        )
        self._entries[entry.kind, entry.name] = attrs.evolve(taken, target=Collision(self.collisions[-1]))

    def _note_disputed(self, entry: Entry) -> None:
        """Record pipeline classes that two backbones of different names adapt."""
        for other in self.entries("backbones"):
            for pipeline in sorted({*entry.pipelines} & {*other.pipelines}):
                if other.name != entry.name:
                    self.disputed[pipeline] = (
                        f"Two backbones adapt {pipeline}: {other.name!r} of {other.plugin} and {entry.name!r} of {entry.plugin}. Neither "
                        "is used: block one with TTA_PLUGINS_BLOCK, or make the backbone yourself and pass the object."
                    )
                    self.collisions.append(self.disputed[pipeline])

    def adapter(self, pipeline: str) -> Entry | None:
        """The backbone that adapts a pipeline class. Raises `LoadError` if two do."""
        if pipeline in self.disputed:
            raise LoadError(self.disputed[pipeline])
        return next((entry for entry in self.entries("backbones") if pipeline in entry.pipelines), None)

    def entries(self, kind: str) -> Iterator[Entry]:
        """The entries of one kind, by name."""
        return (self._entries[key] for key in sorted(self._entries) if key[0] == kind)

    def find(self, kind: str, name: str) -> Entry:
        """The entry of that name. Raises `UnknownNameError` with the nearest names."""
        entry = self._entries.get((kind, name))
        if entry is None:
            hint = nearest(name, [known.name for known in self.entries(kind)])
            missing = f" Nothing is registered by {', '.join(self.broken)}: `tta doctor` shows why." if self.broken else ""
            what = "memory policy" if kind == "memory" else kind.removesuffix("s")
            raise UnknownNameError(f"No {what} is called {name!r}. {hint} `tta list {kind}` lists them all.{missing}")
        if isinstance(entry.target, Collision):
            raise LoadError(entry.target.message)
        return entry

    def create(self, kind: str, name: str) -> object:
        """An instance of the named class with its defaults. A registered function is itself the reward; for other kinds it is called as a
        factory."""
        entry = self.find(kind, name)
        loaded = entry.load()
        if not callable(loaded) or (kind == "rewards" and class_of(loaded) is None):
            return loaded

        def refusal(error: BaseException) -> Exception:
            if isinstance(error, TTAError):
                return error
            return LoadError(
                f"The {kind} entry {name!r} of {entry.plugin} could not be made with its defaults: {error_text(error)}. Make "
                "it yourself and pass it. For a backbone that adapts a pipeline, pass the pipeline, its folder or its hub id."
            )

        with isolated(refusal):
            return loaded()


def nearest(name: str, known: Sequence[str]) -> str:
    """Similar known names, as a question; all known names if none is similar."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(known) or 'none'}."


@attrs.frozen
class Collision:
    """Marks a name that two plugins register."""

    message: str
