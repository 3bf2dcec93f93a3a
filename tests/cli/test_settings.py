"""`--set`: the syntax of values, and the values that each field takes."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from tta_core.errors import InputError, LoadError, UnknownNameError
from tta_core.plugins.registry import Entry
from tta_core.protocols.variables import NullEmbedding, TextEmbedding
from tta_core.solving.steering import SGD, UpdateRule
from tta_core.values.schedules import Every, Fraction, Schedule, Window
from tta_plugins.cli.parts import parts
from tta_plugins.cli.structure import construct


@attrs.frozen
class Every_:  # noqa: N801
    """A value class of the subject's own package, which may be written too."""

    n: int


@dataclasses.dataclass(frozen=True)
class Margin:
    """A third party's value class, with its own error message."""

    pixels: int

    def __post_init__(self):
        if self.pixels < 0:
            raise ValueError("no image has a negative margin")


@attrs.frozen
class Subject:
    """A class with one field of each kind."""

    number: float = 0.5
    count: int = 1
    flag: bool = True
    word: Literal["near", "far"] = "near"
    text: str = "a"
    path: str | Path | None = None
    limit: float | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    when: Schedule = attrs.field(factory=Every)
    either: float | Schedule = 1.0
    rule: UpdateRule = attrs.field(factory=SGD)
    variable: object = attrs.field(factory=TextEmbedding)
    names: tuple[Literal["near", "far"], ...] = ()
    sizes: list[int] = attrs.field(factory=list)
    margin: Margin | None = None
    anything: Any = None
    hidden: int = attrs.field(default=3, init=False)


class Plain:
    """Not an attrs class: the parameters of its constructor are its settings."""

    def __init__(self, size: int, scale: float = 1.0):
        self.size, self.scale = size, scale


def made(target=Subject, **chosen):
    return construct(Entry("methods", "subject", target, "", (), "tests (tests 1.0)"), chosen)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("number", "0.7", 0.7),
        ("number", "1", 1.0),
        ("number", "-1e-3", -1e-3),
        ("number", "inf", float("inf")),
        ("count", "12", 12),
        ("flag", "false", False),
        ("flag", "True", True),
        ("word", "far", "far"),
        ("text", "12", "12"),
        ("text", "a red (circle", "a red (circle"),
        ("path", "/tmp/a-b", "/tmp/a-b"),
        ("path", "none", None),
        ("limit", "none", None),
        ("limit", "3", 3.0),
        ("pair", "(0.5, 2)", (0.5, 2.0)),
        ("when", "Fraction(0.1) * Window(0.5, 1.0)", Fraction(0.1) * Window(0.5, 1.0)),
        ("when", "Every(n=3)", Every(3)),
        ("either", "0.5", 0.5),
        ("either", "Every(2)", Every(2)),
        ("rule", "SGD(lr=0.1)", SGD(0.1)),
        ("pair", "[1, 2]", (1.0, 2.0)),
        ("names", "('near', 'far')", ("near", "far")),
        ("sizes", "(1, 2)", [1, 2]),
        ("margin", "Margin(pixels=2)", Margin(2)),
        ("anything", "'12'", "12"),
        ("text", "none", "none"),
    ],
)
def test_a_value_gets_the_type_of_the_field(field, text, value):
    given = getattr(made(**{field: text}), field)
    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("number", "high"),
        ("number", "true"),
        ("count", "1.5"),
        ("flag", "1"),
        ("word", "nearby"),
        ("limit", "abc"),
        ("pair", "(1, 2, 3)"),
        ("when", "5"),
        ("when", "SGD"),
        ("rule", "none"),
        ("when", "__import__('os').getcwd()"),
        ("when", "Every(2) * 3"),
        ("when", "'a' * 9999999999 * Every(2)"),
        ("number", "1" + "0" * 400),
        ("number", "-" * 5000 + "1"),
        ("number", "1\0"),
        ("names", "('near', 'nearby')"),
        ("sizes", "(1, 2.5)"),
        ("sizes", "(1, true)"),
        ("margin", "Margin(-1)"),
        ("margin", "Every(2)"),
    ],
)
def test_a_wrong_value_is_refused_with_field_type_and_default(field, text):
    with pytest.raises((InputError, UnknownNameError)) as refusal:
        made(**{field: text})
    said = str(refusal.value)
    assert field in said or any(
        why in said for why in ("value that can be given here", "cannot be composed", "Margin(-1) cannot be built: no")
    )


def test_a_constructors_own_error_is_passed_on():
    with pytest.raises(InputError, match=r"Every\.n is 0"):
        made(when="Every(0)")
    with pytest.raises(InputError, match=r"its arguments are \(n: int = 1\)"):
        made(when="Every(m=3)")


def test_similar_names_are_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'number'"):
        made(nubmer="1")
    with pytest.raises(UnknownNameError, match="Did you mean 'Every'"):
        made(when="Evrey(3)")


def test_a_field_that_cannot_be_set_is_unknown():
    with pytest.raises(UnknownNameError, match="'hidden'"):
        made(hidden="4")


def test_parameters_of_a_plain_class_are_settings():
    subject = made(Plain, size="3")
    assert (subject.size, subject.scale) == (3, 1.0)
    with pytest.raises(InputError, match="size of subject"):
        made(Plain, size="x")


def test_a_setting_without_a_default_must_be_given():
    with pytest.raises(InputError, match=r"needs size\. Give each"):
        made(Plain, scale="2")


@attrs.define
class Annotated:
    """Its annotation names a class that is imported for type checkers only."""

    size: "Missing" = 1


class Failing:
    def __init__(self, size=1):
        raise SystemExit(size)


class Unreadable:
    __signature__ = 5

    def __init__(self, size=1):
        pass


def test_annotations_that_cannot_be_resolved_are_not_checked():
    assert made(Annotated, size="3").size == 3


def test_a_class_whose_code_raises_is_named():
    with pytest.raises(LoadError, match=r"settings of Unreadable .* cannot be read: TypeError"):
        made(Unreadable, size="3")
    with pytest.raises(InputError, match="cannot be built with size=3: SystemExit: 3"):
        made(Failing, size="3")


def test_a_plan_takes_settings_of_the_method_and_policies_only(tta):
    refused = tta("plan", "--backbone", "sd15", "--set", "reward.scale=cos")
    assert refused.exit_code == 1
    assert "No place for --set is called 'reward'. Known: method." in refused.stderr


def test_the_text_of_a_repr_can_be_given_again():
    from tta_plugins.methods.date import DATE

    method = DATE(updates=Every(3) * Window(0.25, 0.5), variable=NullEmbedding() & TextEmbedding(pooled=True))
    texts = {field.name: repr(getattr(method, field.name)) for field in attrs.fields(DATE)}
    texts = {name: text.strip("'") for name, text in texts.items()}
    assert made(DATE, **texts) == method


@pytest.mark.parametrize("name", ["sdx", "runwayml/stable-diffusion-v1-5"])
def test_a_backbone_that_cannot_be_planned_is_refused_with_the_known_configurations(tta, name):
    refused = tta("plan", "--backbone", name)
    assert refused.exit_code == 1
    assert "sdxl" in refused.stderr


def test_a_size_of_memory_takes_the_settings_of_auto(tta, tmp_path):
    made = parts("shapes", "date", "clip", ["16gb"], ["16gb.share=0.5"]).memory
    assert "limit=16000000000, share=0.5" in repr(made[0])
    refused = tta("align", "one", "--backbone", "colours", "--reward", "edges", "--method", "date", "--memory", "3XB", "--out", tmp_path)
    assert "'3XB' is not a size of memory. Write it as 16GB" in refused.stderr


@pytest.mark.parametrize("value", ["Cosine(2)", "Cosine(power=2)"])
def test_a_third_party_value_may_come_from_another_file_of_its_package(site, value):
    files = {
        "tta_waves/__init__.py": "",
        "tta_waves/curves.py": "import attrs\n\n@attrs.frozen\nclass Cosine:\n    power: int = 1\n",
        "tta_waves/reward.py": "import attrs\nfrom tta_waves.curves import Cosine\n\n"
        "@attrs.frozen\nclass Wave:\n    curve: object = attrs.field(factory=Cosine)\n",
    }
    site.add("tta-waves", "tta_waves", files)
    wave = construct(Entry("rewards", "wave", "tta_waves.reward:Wave", "", (), "tests (tests 1.0)"), {"curve": value})
    assert repr(wave) == "Wave(curve=Cosine(power=2))"
