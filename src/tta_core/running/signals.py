"""Holds back Ctrl-C and other signals while an operation must not be interrupted."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tta_core.plugins.isolation import ENDING as ENDING


@contextmanager
def signals_held() -> Iterator[None]:
    """Holds SIGINT, SIGTERM and SIGHUP back until the context ends, and then handles them as usual.

    Python handles signals only in its main thread, so in another thread this has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {number: handler for number in ENDING if (handler := signal.getsignal(number)) not in (None, signal.SIG_IGN)}
    for number in handlers:
        signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(received):
            signal.raise_signal(number)
