"""Code of plugins, run so that nothing it raises ends what others do."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

Refusal = Callable[[BaseException], Exception]


@contextmanager
def isolated(refusal: Refusal) -> Iterator[None]:
    """Whatever is raised inside, SystemExit and KeyboardInterrupt included, becomes `refusal(error)`; a real Ctrl-C passes."""
    with _ctrl_c_noted() as came:
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and came:
                raise
            made = refusal(error)
            raise made from (None if made is error else error)


@contextmanager
def stdout_protected() -> Iterator[None]:
    """What is printed goes to standard error, so that a plugin that prints while it is loaded does not spoil `tta list --json`."""
    if sys.stderr is None:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _ctrl_c_noted() -> Iterator[list[int]]:
    """A list that is empty until a SIGINT comes. Only the main thread gets one, where Python handles it at all."""
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield came
        return

    def note(number: int, frame: object) -> None:
        came.append(number)
        previous(number, frame)  # type: ignore[arg-type]

    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, previous)
