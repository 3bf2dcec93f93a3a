"""Plugins are found by entry points and loaded in isolation; two environment variables select them."""

import importlib.metadata
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tta_core import hookimpl
from tta_core.plugins.discovery import plugins, unmatched


def plugin(**hooks):
    """A module with hook implementations."""
    module = ModuleType("made")
    for name, hook in hooks.items():
        setattr(module, name, hookimpl(hook))
    return module


def rewards(*names):
    def tta_register_rewards(register):
        for name in names:
            register(name, dict, f"the {name} reward")

    return plugin(tta_register_rewards=tta_register_rewards)


@pytest.fixture
def installed(monkeypatch):
    """Installs modules as plugins of the distributions with these names; returns the newly found `Plugins`."""

    def install(**modules):
        points = []
        for number, (name, module) in enumerate(modules.items()):
            made = f"made_plugin_{number}"
            if isinstance(module, ModuleType):
                monkeypatch.setitem(sys.modules, made, module)
            point = importlib.metadata.EntryPoint(name, made, "tta")
            vars(point)["dist"] = SimpleNamespace(name=name.replace("_", "-"), version="1.0")
            points.append(point)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
        plugins.cache_clear()
        return plugins()

    monkeypatch.delenv("TTA_PLUGINS", raising=False)
    monkeypatch.delenv("TTA_PLUGINS_BLOCK", raising=False)
    yield install
    plugins.cache_clear()


def names(found):
    return [entry.name for entry in found.registry.entries("rewards")]


def test_a_plugin_registers_under_its_own_name(installed):
    found = installed(lab=rewards("sharpness"))
    assert names(found) == ["sharpness"]
    entry = found.registry.find("rewards", "sharpness")
    assert entry.plugin == "lab (lab 1.0)"
    assert entry.summary == "the sharpness reward"
    assert str(found.found[0]) == "lab (lab 1.0)"


def test_a_plugin_that_cannot_be_imported_does_not_affect_others(installed):
    found = installed(broken=None, lab=rewards("sharpness"))
    assert names(found) == ["sharpness"]
    assert "ModuleNotFoundError" in found.found[0].problem
    assert found.found[1].problem == ""


def test_a_plugin_whose_hook_raises_registers_nothing(installed):
    def tta_register_rewards(register):
        register("first", dict)
        raise RuntimeError("no weights")

    found = installed(broken=plugin(tta_register_rewards=tta_register_rewards), lab=rewards("sharpness"))
    assert names(found) == ["sharpness"]
    assert found.found[0].problem == "RuntimeError: no weights"


def test_an_unknown_hook_is_refused_by_name(installed):
    found = installed(broken=plugin(tta_register_rewards_typo=lambda register: None), lab=rewards("sharpness"))
    assert "tta_register_rewards_typo" in found.found[0].problem
    assert names(found) == ["sharpness"]


def test_an_invalid_target_is_refused(installed):
    def tta_register_rewards(register):
        register("x", 3)

    found = installed(broken=plugin(tta_register_rewards=tta_register_rewards))
    assert "registered 'x' among the rewards, with the target 3; give a class" in found.found[0].problem


def test_two_plugins_with_one_name(installed):
    found = installed(lab=rewards("sharpness", "jpeg"), rival=rewards("sharpness"))
    assert len(found.registry.collisions) == 1
    assert "lab (lab 1.0) and rival (rival 1.0)" in found.registry.collisions[0]
    assert found.registry.create("rewards", "jpeg") == {}


def test_two_entry_points_of_one_plugin_module_are_two_plugins(installed):
    found = installed(lab=rewards("a"), more=rewards("b"))
    assert names(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("variable", "value", "left"),
    [
        ("TTA_PLUGINS", "lab", ["a", "own"]),
        ("TTA_PLUGINS", "rival, lab", ["a", "b", "own"]),
        ("TTA_PLUGINS_BLOCK", "lab", ["b", "own"]),
        ("TTA_PLUGINS_BLOCK", "lab , rival", ["own"]),
        ("TTA_PLUGINS_BLOCK", "Lab", ["b", "own"]),
        ("TTA_PLUGINS_BLOCK", "tta_align", ["a", "b"]),
        ("TTA_PLUGINS_BLOCK", "tta-align", ["a", "b"]),
        ("TTA_PLUGINS", "", ["a", "b", "own"]),
    ],
)
def test_the_environment_variables_select_plugins(installed, monkeypatch, variable, value, left):
    monkeypatch.setenv(variable, value)
    # the fixture deleted both variables; this one is set only while plugins are loaded
    found = installed(lab=rewards("a"), rival=rewards("b"), tta_align=rewards("own"))
    assert names(found) == left
    own = {"lab": "a", "rival": "b", "tta_align": "own"}
    assert [one.blocked for one in found.found] == [own[one.name] not in left for one in found.found]
    assert not any(one.problem for one in found.found)


def test_names_that_select_no_plugin_are_reported(installed, monkeypatch):
    monkeypatch.setenv("TTA_PLUGINS", "LAB")
    monkeypatch.setenv("TTA_PLUGINS_BLOCK", "lab, lob")
    assert unmatched(installed(lab=rewards("a")).found) == {"TTA_PLUGINS_BLOCK": ["lob"]}


def test_plugins_are_loaded_once(installed):
    calls = []
    found = installed(lab=plugin(tta_register_rewards=lambda register: calls.append(1)))
    assert plugins() is found
    assert calls == [1]
