"""Counts the faults that the fault-injection tests tried and those that the run survived; tests/conftest.py prints the numbers."""

import signal
import warnings
from collections import Counter

import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch):
    """Switches off the checks of annotations that this project's tests use, and shows warnings as warnings instead of errors."""
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
    """Call it with "tried" before a fault, and with "survived" after it."""
    seam, counts = request.node.module.__name__.removeprefix("test_"), Counter()

    def noted(what, times=1):
        counts[what] += times

    yield noted
    request.node.user_properties.append(("faults", [seam, counts["tried"], counts["survived"]]))
