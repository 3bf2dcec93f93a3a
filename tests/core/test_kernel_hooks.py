"""Every hook of the interface is called, with the documented arguments."""

import inspect

import pytest

import tta_core as tta
from tta_core import hookimpl
from tta_core.plugins import hookspecs
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import KINDS
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_plugins.methods.baselines import BestOfN

SPECS = {name for name, value in vars(hookspecs).items() if name.startswith("tta_") and inspect.isfunction(value)}


class Watcher:
    """A plugin with the three observation hooks."""

    def __init__(self):
        self.seen = []

    @hookimpl
    def tta_run_started(self, problem):
        self.seen.append(("tta_run_started", problem))

    @hookimpl
    def tta_snapshot(self, snapshot):
        self.seen.append(("tta_snapshot", snapshot))

    @hookimpl
    def tta_run_finished(self, alignment):
        self.seen.append(("tta_run_finished", alignment))


@pytest.fixture
def watcher():
    made, hooks = Watcher(), plugins().hooks
    hooks.register(made)
    yield made
    hooks.unregister(made)


def run(**changes):
    return tta.align("a", backbone=GaussianMixture(), method=BestOfN(3), reward=Likeness(), scheduler=vp_scheduler(3), **changes)


def test_the_hooks_are_one_per_kind_three_for_observation_and_one_for_the_page():
    assert {f"tta_register_{kind}" for kind in KINDS} | {"tta_run_started", "tta_snapshot", "tta_run_finished", "tta_page"} == SPECS
    for name in SPECS:
        documentation = inspect.getdoc(getattr(hookspecs, name))
        assert "Since 0." in documentation, f"{name} does not say since when it is called"


@pytest.mark.parametrize("kind", KINDS)
def test_registration_hooks_are_called(kind):
    """The built-in plugins use the same hooks as third parties, and register something of every kind."""
    registered = [entry for entry in plugins().registry.entries(kind) if "tta-align" in entry.plugin]
    assert registered, f"nothing was registered through tta_register_{kind}"
    broken = {found.name: found.problem for found in plugins().found if found.distribution == "tta-align" and found.problem}
    assert not broken


def test_observation_hooks_are_called_in_order(watcher):
    alignment = run()
    assert [name for name, _ in watcher.seen] == ["tta_run_started", *["tta_snapshot"] * 3, "tta_run_finished"]
    assert [value.index for name, value in watcher.seen if name == "tta_snapshot"] == [0, 1, 2]
    assert watcher.seen[0][1].prompts == ("a",)
    assert watcher.seen[-1][1] is alignment


def test_finished_is_called_when_the_run_was_interrupted(watcher):
    def interrupt(snapshot):
        raise KeyboardInterrupt

    alignment = run(observers=[interrupt])
    assert alignment.stopped == "interrupted at 1 of 3"
    assert watcher.seen[-1] == ("tta_run_finished", alignment)


def test_observation_changes_nothing(watcher):
    watched = run().result.pixels
    plugins().hooks.unregister(watcher)
    try:
        assert watched.equal(run().result.pixels)
    finally:
        plugins().hooks.register(watcher)
