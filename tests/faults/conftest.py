"""Counts what the fault-injection tests tried and what survived; the line that says so is printed by the conftest above."""

import signal
import warnings
from collections import Counter

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch):
    """Without the checks of annotations that this project's tests switch on, and with warnings as warnings."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@pytest.fixture(autouse=True)
def signals_arrive():
    """SIGINT and SIGHUP as in a terminal: `nohup` and jobs in the background ignore them, and so would the processes that are tested."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def count(request):
    """Call it before a fault with "tried", after it with "survived"."""
    seam, counts = request.node.module.__name__.removeprefix("test_"), Counter()

    def noted(what, times=1):
        counts[what] += times

    yield noted
    request.node.user_properties.append(("faults", [seam, counts["tried"], counts["survived"]]))
