"""The hook specifications: one registration hook for each kind of plugin, three hooks that watch a run, one that shows it.

Registration hooks are called once, when a name is first looked up. They must stay light: register "module:attribute" strings rather
than importing a model library. The observation hooks are called during `tta_core.align`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pluggy

if TYPE_CHECKING:
    from tta_core.protocols.method import Snapshot
    from tta_core.solving.problem import Problem
    from tta_core.values.ledger import Ledger

hookspec = pluggy.HookspecMarker("tta")
hookimpl = pluggy.HookimplMarker("tta")


@runtime_checkable
class Register(Protocol):
    """The argument of a registration hook."""

    def __call__(self, name: str, target: object, summary: str = "", pipelines: tuple[str, ...] = ()) -> None:
        """Add one entry.

        Args:
            name: what users type; lower case with dashes.
            target: a class or factory, or "module:attribute", imported when first used. A class method without arguments is a preset:
                "package.module:Class.fast" makes the class with other settings, all of which can still be set.
            summary: one line for `tta list`.
            pipelines: backbones only: the names of the diffusers pipeline classes that this backbone adapts.
        """


@runtime_checkable
class FinishedRun(Protocol):
    """What a hook can read of a finished run; the hook gets a `tta_core.Alignment`, which has more."""

    prompts: tuple[str, ...]
    cost: "Ledger"
    manifest: Mapping[str, Any]
    stopped: str

    def record(self) -> dict[str, Any]:
        """Everything but the pixels, as plain data for JSON: scores, baseline, trace, cost and manifest."""
        ...


@hookspec
def tta_register_backbones(register: Register) -> None:
    """Register backbones: factories that give a `tta_core.Backbone`. Since 0.1."""


@hookspec
def tta_register_schedulers(register: Register) -> None:
    """Register schedulers: `(native, steps, eta, shape) -> tta_core.Scheduler`. Since 0.1."""


@hookspec
def tta_register_rewards(register: Register) -> None:
    """Register rewards: classes whose instances score images, or plain functions `(images, prompts) -> scores`. Since 0.1."""


@hookspec
def tta_register_methods(register: Register) -> None:
    """Register methods: classes whose instances are a `tta_core.Method`. Since 0.1."""


@hookspec
def tta_register_memory(register: Register) -> None:
    """Register memory policies: classes whose instances are a `tta_core.MemoryPolicy`. Since 0.1."""


@hookspec
def tta_run_started(problem: "Problem") -> None:
    """A run is about to take its first step. Since 0.1."""


@hookspec
def tta_snapshot(snapshot: "Snapshot") -> None:
    """A method has reached a new snapshot. The hook must not change it. A batch that failed is run again in halves, whose snapshots
    start again and have fewer samples. Since 0.1."""


@hookspec
def tta_run_finished(alignment: FinishedRun) -> None:
    """A run has ended, also when it was interrupted. Since 0.1."""


@hookspec(firstresult=True)
def tta_page(alignment: FinishedRun) -> str | None:
    """One HTML file that shows a finished run, for `Alignment.report`; the page of the first plugin that returns one is used. Since 0.2."""
