"""Calls observers and the observation hooks of plugins; an error in one does not stop the run."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pluggy
import torch

from tta_core.errors import InputError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.isolation import isolated
from tta_core.protocols.method import Snapshot
from tta_core.running.alignment import Alignment
from tta_core.running.request import Observer
from tta_core.solving.problem import Problem
from tta_core.values.arguments import shown, told
from tta_core.values.provenance import describe, name_of
from tta_core.values.typing import evolve


class Watchers:
    """One run's watchers, each isolated: one that raises is named in a warning and not called again. A Ctrl-C passes."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._hooks = plugins().hooks
        self._failed: set[int] = set()
        self._begun = False

    def started(self, problem: Problem) -> None:
        """The run is about to take its first step; said once, also where a batch is run again in halves."""
        if not self._begun:
            self._begun = True
            self._tell("tta_run_started", "problem", problem)

    def reached(self, snapshot: Snapshot) -> None:
        """The method has yielded a snapshot. Watchers are given copies of its results.

        Raises:
            InputError: a watcher changed the controls in place, with which the method goes on.
        """
        if not self._observers and not self._hooks.hook.tta_snapshot.get_hookimpls():
            return
        copied, steered = _copied(snapshot), snapshot.controls.leaves
        before = [tensor._version for tensor in steered]
        for observer in self._observers:
            self._call(observer, f"The observer {describe(observer)}", partial(observer, copied))
        self._tell("tta_snapshot", "snapshot", copied)
        if before != [tensor._version for tensor in steered]:
            raise InputError(
                "An observer or a plugin's hook changed the controls of a snapshot in place, so the rest of the run would not be the "
                "method's. Change copies: `tensor.clone()`."
            )

    def finished(self, alignment: Alignment) -> None:
        """The run has ended."""
        self._tell("tta_run_finished", "alignment", alignment)

    def _tell(self, hook: str, argument: str, value: object) -> None:
        everyone = self._hooks.get_plugins()
        for implementation in getattr(self._hooks.hook, hook).get_hookimpls():
            plugin, name = implementation.plugin, implementation.plugin_name
            alone: pluggy.HookCaller = self._hooks.subset_hook_caller(hook, everyone - {plugin})
            self._call(plugin, f"The hook {hook} of the plugin {name}", partial(_isolated, partial(alone, **{argument: value})))

    def _call(self, watcher: object, who: str, call: Callable[[], object]) -> None:
        if id(watcher) in self._failed:
            return
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled()):  # one that turns gradients off turns off its own
                call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._failed.add(id(watcher))
            warnings.warn(
                f"{who} raised {told(error)}. The run goes on without it: it is not called again in this run. Mend it, "
                "or leave it out (TTA_PLUGINS_BLOCK blocks a plugin).",
                stacklevel=2,
            )


def _copied(snapshot: Snapshot) -> Snapshot:
    """The snapshot with copies of what becomes the result: a watcher that writes into them changes nothing."""
    copies: dict[str, Any] = {
        name: None if tensor is None else tensor.detach().clone()
        for name, tensor in (
            ("x0", snapshot.x0),
            ("scores", snapshot.scores),
            ("objective", snapshot.objective),
            ("images", snapshot.images),
        )
    }
    for name, named in (("parts", snapshot.parts), ("penalties", snapshot.penalties), ("readings", snapshot.readings)):
        copies[name] = {key: tensor.detach().clone() for key, tensor in named.items()}
    return evolve(snapshot, **copies, gradient=tuple(tensor.detach().clone() for tensor in snapshot.gradient))


def _isolated(call: Callable[[], object]) -> None:
    """A plugin's KeyboardInterrupt is its own, unless somebody pressed Ctrl-C; an observer's is its user's way to stop the run."""
    with isolated(lambda error: error if isinstance(error, Exception) else RuntimeError(told(error))):
        call()


def check_observers(observers: object) -> None:
    """Raises `InputError` for what is not a list of functions of one snapshot."""
    if not isinstance(observers, Sequence) or not all(map(callable, observers)) or any(isinstance(one, type) for one in observers):
        raise InputError(f"observers is {shown(observers)}, but it takes a list of functions of a snapshot, such as [print].")
    for observer in observers:
        try:
            inspect.signature(observer).bind(None)
        except TypeError as error:
            raise InputError(
                f"The observer {name_of(observer)} cannot be called with one argument, the snapshot: {error}. Give such a function."
            ) from error
        except ValueError:  # a builtin that does not tell its signature
            continue
