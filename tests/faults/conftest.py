"""Counts what the fault-injection tests tried and what survived; the line that says so is printed by the conftest above."""

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


@pytest.fixture
def count(request):
    """Call it before a fault with "tried", after it with "survived"."""
    seam, counts = request.node.module.__name__.removeprefix("test_"), Counter()

    def noted(what, times=1):
        counts[what] += times

    yield noted
    request.node.user_properties.append(("faults", [seam, counts["tried"], counts["survived"]]))
