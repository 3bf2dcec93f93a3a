"""The file that a user writes, `bench.toml`, read into values; errors name the entry."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cattrs import transform_error
from cattrs.errors import ForbiddenExtraKeysError

from tta_core.errors import InputError, LoadError
from tta_plugins.bench.prompt_files import Choice

Setting = str | int | float | bool
CONTROLS = ("fixed", "random-direction", "pool")


@attrs.frozen
class Arm:
    """A method with settings; what is None or empty is the comparison's own.

    Attributes:
        set: settings of the method, as `tta align --set method.NAME=VALUE` takes them.
        family: arms of one family are the points of one curve.
    """

    name: str
    method: str
    set: Mapping[str, Setting] = attrs.field(factory=dict)
    family: str = ""
    target: str = ""
    backbone: str = ""
    steps: int | None = None
    guidance: float | None = None
    eta: float | None = None
    scheduler: str = ""
    memory: tuple[str, ...] | None = None


@attrs.frozen
class Spec:
    """A comparison.

    Attributes:
        target: the reward that the methods climb. held_out: rewards that none of them sees.
        primary: the score on which the verdicts stand; the target where it is empty. The rest is exploratory.
        pool: plain draws of each prompt, which give best-of-n for every n up to it.
        seeds: how often each prompt is drawn; more prompts are worth more than more seeds.
        batch: cells drawn at once; it changes the numbers by rounding alone.
        threads: of torch, in each worker: part of the plan, since it changes rounding.
        strips: cells of each arm whose look-aheads are kept for the report.
        fail_on: the share of failed cells beyond which the run stops.
    """

    prompts: Choice
    arms: tuple[Arm, ...]
    title: str = "A comparison"
    hypothesis: str = ""
    target: str = "clip"
    held_out: tuple[str, ...] = ()
    primary: str = ""
    backbone: str = "shapes"
    steps: int | None = None
    guidance: float | None = None
    eta: float | None = None
    scheduler: str = "native"
    memory: tuple[str, ...] = ()
    height: int | None = None
    width: int | None = None
    seeds: tuple[int, ...] = (0,)
    pool: int = 16
    batch: int = 8
    threads: int = 1
    strips: int = 2
    fail_on: float = 0.1

    def __attrs_post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"Two arms are called {twice[0]!r}. Give each arm a name of its own.")
        taken = sorted(set(names) & set(CONTROLS))
        if taken:
            raise InputError(f"An arm is called {taken[0]!r}, which is a control that every comparison has. Give it another name.")
        for name in ("pool", "batch", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, but it takes at least 1.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds is {list(self.seeds)}, but it takes at least one, and each once.")
        if not 0 <= self.fail_on <= 1:
            raise InputError(f"fail_on is {self.fail_on}, but it is a share of the cells: give a number in [0, 1].")


def read_spec(path: Path) -> Spec:
    """The comparison that a `bench.toml` describes. Raises `LoadError` or `InputError` naming the entry."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LoadError(f"{path} could not be read as a comparison: {error}. `tta bench init` writes one to start from.") from error
    return spec_of(written, str(path))


def spec_of(written: Mapping[str, Any], source: str) -> Spec:
    """The comparison of plain data. Raises `InputError` naming the entry that is wrong."""
    try:
        return _CONVERTER.structure(written, Spec)
    except (cattrs.BaseValidationError, ForbiddenExtraKeysError) as error:
        refused = _refusal(error)
        if refused is not None:
            raise refused from error
        raise InputError(f"{source}: {'; '.join(transform_error(error, path='bench'))}. `tta bench init` writes a whole one.") from error


def _refusal(error: BaseException) -> InputError | None:
    """The refusal of one of our own checks inside what cattrs raised."""
    if isinstance(error, InputError):
        return error
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for part in parts if (found := _refusal(part)) is not None), None)


def _exactly(value: object, kind: type) -> object:
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return float(value) if kind is float else value  # type: ignore[arg-type]


def _setting(value: object, _kind: object) -> object:
    if not isinstance(value, Setting):
        raise TypeError(f"{value!r} is no text, number or truth value; write a value such as 'Fraction(0.1)' as text")
    return value


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (int, float, str, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(Setting, _setting)
    return converter


_CONVERTER = _converter()
