"""The hook specifications: one registration hook for each kind of plugin, three hooks that watch a run, and one that makes its page.

Registration hooks are called once, when a name is first looked up. They must be fast: register "module:attribute" strings instead of
importing a model library. The observation hooks are called during `tta_core.align`.
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
                "package.module:Class.fast" makes an instance with other defaults; users can still set every setting.
            summary: one line for `tta list`.
            pipelines: backbones only: the names of the diffusers pipeline classes that this backbone adapts.
        """


@runtime_checkable
class FinishedRun(Protocol):
    """The attributes of a finished run that a hook can rely on; the hook gets a `tta_core.Alignment`, which has more."""

    prompts: tuple[str, ...]
    cost: "Ledger"
    manifest: Mapping[str, Any]
    stopped: str

    def record(self) -> dict[str, Any]:
        """Everything except the pixels, as plain data for JSON: scores, baseline, trace, cost and manifest."""
        ...


@hookspec
def tta_register_backbones(register: Register) -> None:
    """Register backbones: factories that return a `tta_core.Backbone`. Since 0.1."""


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
    """Called before the first step of a run. Since 0.1."""


@hookspec
def tta_snapshot(snapshot: "Snapshot") -> None:
    """Called with each new snapshot of a method. The hook must not change it. If a batch fails, it is run again in halves; the hook then
    gets their snapshots from the first one on, with fewer samples. Since 0.1."""


@hookspec
def tta_run_finished(alignment: FinishedRun) -> None:
    """Called when a run has ended, also if it was interrupted. Since 0.1."""


@hookspec(firstresult=True)
def tta_page(alignment: FinishedRun) -> str | None:
    """Return one HTML file that shows a finished run, for `Alignment.report`; the first page that a plugin returns is used. Since 0.2."""
