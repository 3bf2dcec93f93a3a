"""The whole plugin contract: one registration hook per kind, and three hooks that watch a run.

Registration hooks are called once, when a name is first looked up. They must stay light: register "module:attribute" strings rather
than importing a model library. The observation hooks are called during `tta_core.align`.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pluggy

if TYPE_CHECKING:
    from tta_core.alignment import Alignment
    from tta_core.method import Snapshot
    from tta_core.problem import Problem

hookspec = pluggy.HookspecMarker("tta")
hookimpl = pluggy.HookimplMarker("tta")


@runtime_checkable
class Register(Protocol):
    """What a registration hook is handed."""

    def __call__(self, name: str, target: object, summary: str = "", pipelines: tuple[str, ...] = ()) -> None:
        """Add one entry.

        Args:
            name: what users type; lower case with dashes.
            target: a class or factory, or "module:attribute", imported when first used.
            summary: one line for `tta list`.
            pipelines: backbones only: the names of the diffusers pipeline classes that this backbone adapts.
        """


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
    """A method has reached a new snapshot. Watching must not change it. Since 0.1."""


@hookspec
def tta_run_finished(alignment: "Alignment") -> None:
    """A run has ended, also when it was interrupted. Since 0.1."""
