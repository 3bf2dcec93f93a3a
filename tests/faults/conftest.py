"""Counts what the fault-injection tests tried and what survived, and prints both at the end."""

import warnings
from collections import Counter

import jaxtyping
import pytest

COUNTS = Counter()


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
    seam = request.node.module.__name__.removeprefix("test_")

    def noted(what):
        COUNTS[seam, what] += 1

    return noted


@pytest.fixture(scope="session", autouse=True)
def _report(request):
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for seam in sorted({seam for seam, _ in COUNTS}):
            print(f"\n{seam}: {COUNTS[seam, 'tried']} faults tried, {COUNTS[seam, 'survived']} survived")
