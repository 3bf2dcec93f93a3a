"""Runs plugin code so that nothing it raises or prints affects other plugins or the run."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any

Refusal = Callable[[BaseException], Exception]
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def isolated(refusal: Refusal) -> Iterator[None]:
    """Any exception inside, including SystemExit and KeyboardInterrupt, becomes `refusal(error)`; only the KeyboardInterrupt of a real
    Ctrl-C, or of a handler of SIGTERM or SIGHUP, is raised unchanged."""
    with _signals_noted() as came:
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and came:
                raise
            made = refusal(error)
            raise made from (None if made is error else error)


@contextmanager
def stdout_protected() -> Iterator[None]:
    """Redirects prints to standard error, so that a plugin that prints while it is loaded does not break `tta list --json`."""
    if sys.stderr is None:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """A list that is empty until a signal comes whose handler may raise. Only the main thread gets one, where Python handles it at all."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers: dict[int, Any] = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    note = partial(_note, came, handlers)
    for number in handlers:
        signal.signal(number, note)
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)


def _note(came: list[int], handlers: Mapping[int, Any], number: int, frame: object) -> None:
    came.append(number)
    handlers[number](number, frame)
