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
from tta_core.values.arguments import error_text, shown
from tta_core.values.provenance import describe, name_of
from tta_core.values.typing import evolve


class Watchers:
    """The observers and hooks of one run. One that raises is named in a warning and not called again; Ctrl-C still ends the run."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._hooks = plugins().hooks
        self._failed: set[int] = set()
        self._begun = False

    def started(self, problem: Problem) -> None:
        """Call before the run's first step. Hooks are called once, also if a batch is run again in halves."""
        if not self._begun:
            self._begun = True
            self._tell("tta_run_started", "problem", problem)

    def reached(self, snapshot: Snapshot) -> None:
        """Call with each snapshot. Watchers get copies of its results.

        Raises:
            InputError: a watcher changed the controls in place; the method would continue with the changed ones.
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
                "An observer or a plugin's hook changed the controls of a snapshot in place, which would change the remaining run. "
                "Change copies: `tensor.clone()`."
            )

    def finished(self, alignment: Alignment) -> None:
        """Call when the run has ended."""
        self._tell("tta_run_finished", "alignment", alignment)

    def _tell(self, hook: str, argument: str, value: object) -> None:
        registered = self._hooks.get_plugins()
        for implementation in getattr(self._hooks.hook, hook).get_hookimpls():
            plugin, name = implementation.plugin, implementation.plugin_name
            alone: pluggy.HookCaller = self._hooks.subset_hook_caller(hook, registered - {plugin})
            self._call(plugin, f"The hook {hook} of the plugin {name}", partial(_isolated, partial(alone, **{argument: value})))

    def _call(self, watcher: object, name: str, call: Callable[[], object]) -> None:
        if id(watcher) in self._failed:
            return
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled()):  # restores the gradient mode if the watcher changes it
                call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._failed.add(id(watcher))
            warnings.warn(
                f"{name} raised {error_text(error)}. The run goes on without it: it is not called again in this run. Fix it, "
                "or leave it out (TTA_PLUGINS_BLOCK blocks a plugin).",
                stacklevel=2,
            )


def _copied(snapshot: Snapshot) -> Snapshot:
    """The snapshot with copies of the tensors that become the result: a watcher that changes them has no effect on the run."""
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
    """Treats a KeyboardInterrupt that a plugin raises as its error, unless the user pressed Ctrl-C. An observer's does stop the run."""
    with isolated(lambda error: error if isinstance(error, Exception) else RuntimeError(error_text(error))):
        call()


def check_observers(observers: object) -> None:
    """Raises `InputError` if `observers` is not a list of functions of one snapshot."""
    if not isinstance(observers, Sequence) or not all(map(callable, observers)) or any(isinstance(one, type) for one in observers):
        raise InputError(f"observers is {shown(observers)}, but it takes a list of functions of a snapshot, such as [print].")
    for observer in observers:
        if inspect.isgeneratorfunction(observer) or inspect.iscoroutinefunction(observer) or inspect.isasyncgenfunction(observer):
            raise InputError(
                f"The observer {name_of(observer)} is a generator or a coroutine, and calling it does not run its code. Give a function."
            )
        try:
            inspect.signature(observer).bind(None)
        except TypeError as error:
            raise InputError(
                f"The observer {name_of(observer)} cannot be called with one argument, the snapshot: {error}. Give such a function."
            ) from error
        except ValueError:  # a builtin without a readable signature
            continue
