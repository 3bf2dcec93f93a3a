"""Presets: class methods with their own registered names, which take all settings of their class."""

import attrs
import pytest

from tta_core.errors import InputError, UnknownNameError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import Entry, Registry
from tta_core.solving.steering import Adam, AdamW
from tta_core.values.schedules import Every, Window
from tta_plugins.cli.citations import citation_of
from tta_plugins.cli.settings import settings_of
from tta_plugins.cli.structure import construct
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.studio.controls import controls_of

FAST = {
    "null-tta.fast": NullTTA(inner_min=3, inner_max=3, optimizer=Adam(lr=3e-2)),
    "date.fast": DATE(updates=Every(2) * Window(0.5, 1.0)),
    "dno.fast": DNO(5, optimizer=AdamW(lr=0.2), shuffles=20),
}


@attrs.frozen
class Brightest:
    """A third-party reward with a preset."""

    share: float = 0.1
    softness: float = 0.0

    @classmethod
    def soft(cls):
        """A preset with a lower share."""
        return cls(softness=0.5)

    def __call__(self, images, prompts):
        """The brightness times the share."""
        return images.mean((1, 2, 3)) * self.share


class Plain:
    """A class without attrs."""

    def __init__(self, size: int = 1):
        self.size = size

    @classmethod
    def large(cls):
        """A preset with a larger value."""
        return cls(9)


def found(name):
    return plugins().registry.find("methods", name)


def strangers(target, kind="rewards"):
    return Entry(kind, "theirs.soft", target, "a preset", (), "tta-theirs 1.0")


@pytest.mark.parametrize("name", FAST)
def test_a_preset_is_built_by_its_name(name):
    assert plugins().registry.create("methods", name) == construct(found(name), {}) == FAST[name]
    assert citation_of(found(name).load()) == citation_of(type(FAST[name]))


@pytest.mark.parametrize(
    ("name", "setting", "expected"),
    [
        ("null-tta.fast", {"particles": "1"}, attrs.evolve(FAST["null-tta.fast"], particles=1)),
        ("null-tta.fast", {"kl_budget": "2.0"}, NullTTA(inner_min=3, inner_max=3, optimizer=Adam(lr=3e-2), kl_budget=2.0)),
        ("date.fast", {"updates": "Every(5)"}, DATE(updates=Every(5))),
        ("dno.fast", {"optimizer": "Adam(lr=0.1)", "iterations": "7"}, DNO(7, optimizer=Adam(lr=0.1), shuffles=20)),
    ],
)
def test_every_setting_can_still_be_given(name, setting, expected):
    assert construct(found(name), setting) == expected


def test_a_wrong_setting_is_refused_as_for_the_class():
    with pytest.raises(UnknownNameError, match="iterations"):
        construct(found("dno.fast"), {"iteration": "5"})
    with pytest.raises(InputError, match="Its default is 5"):
        construct(found("dno.fast"), {"iterations": "many"})


def test_its_own_defaults_are_shown(tta):
    out = tta("show", "dno.fast").stdout
    assert "Five updates" in out
    assert "iterations: int = 5\n" in out
    assert "regularisation: float = 1.0\n" in out
    boxes = {control.name: control for control in controls_of(found("dno.fast"))}
    assert (boxes["iterations"].default, boxes["shuffles"].default) == (5, 20)
    assert boxes["shuffles"].about


def test_a_third_party_preset_needs_only_its_name():
    registry = Registry()
    for target in (Brightest.soft, f"{__name__}:Brightest.soft"):
        entry = strangers(target)
        assert entry.load()() == construct(entry, {}) == Brightest(softness=0.5)
        assert construct(entry, {"share": "0.2"}) == Brightest(0.2, 0.5)
    registry.add(strangers(Brightest.soft))
    assert registry.create("rewards", "theirs.soft") == Brightest(softness=0.5)


def test_a_class_without_attrs_has_presets_without_settings():
    entry = strangers(Plain.large, "methods")
    assert settings_of(entry.load()) == {}
    assert construct(entry, {}).size == 9
    with pytest.raises(InputError, match="has no settings"):
        construct(entry, {"size": "3"})
