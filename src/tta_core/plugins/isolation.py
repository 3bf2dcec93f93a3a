"""Runs plugin code so that its exceptions and prints do not affect other plugins or the run."""

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
    """Raises `refusal(error)` for every exception inside, including SystemExit and KeyboardInterrupt. Only the KeyboardInterrupt of a real
    Ctrl-C, or of a handler of SIGTERM or SIGHUP, is raised unchanged."""
    with _signals_recorded() as received:
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and received:
                raise
            made = refusal(error)
            raise made from (None if made is error else error)


@contextmanager
def stdout_protected() -> Iterator[None]:
    """Redirects standard output to standard error, so that a plugin that prints while it is loaded does not break `tta list --json`."""
    if sys.stderr is None:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _signals_recorded() -> Iterator[list[int]]:
    """A list of the signals received inside that have a Python handler. Python handles signals only in the main thread; in other threads
    the list stays empty."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers: dict[int, Any] = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    record = partial(_record, received, handlers)
    for number in handlers:
        signal.signal(number, record)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is record:
                signal.signal(number, handler)


def _record(received: list[int], handlers: Mapping[int, Any], number: int, frame: object) -> None:
    received.append(number)
    handlers[number](number, frame)
