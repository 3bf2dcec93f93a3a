"""Reads the user's file, `bench.toml`. Errors name the entry."""

import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cattrs import transform_error
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from tta_core.errors import InputError, LoadError
from tta_plugins.bench.prompt_files import Choice

Setting = str | int | float | bool
LEADING = ("arm", "prompt", "seed", "status")  # the columns of the table before the numbers
COLUMNS = (*LEADING, "evaluations", "flops", "panel")  # names that no score can have
CONTROLS = ("fixed", "random-direction", "pool")


@attrs.frozen
class Arm:
    """A method with settings. An entry that is None or empty takes the comparison's value.

    Attributes:
        set: settings of the method, as in `tta align --set method.NAME=VALUE`.
        family: arms of the same family are joined into one curve.
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
        target: the reward that the methods optimise.
        held_out: rewards that no method optimises.
        primary: the score that the verdicts are based on; empty means the target. The other scores are exploratory.
        pool: the number of plain samples of each prompt, which give best-of-n for every n up to it.
        seeds: one sample of each prompt per seed. More prompts help more than more seeds.
        batch: cells sampled at once. It changes the numbers by rounding only.
        threads: torch's threads in each worker. They are part of the plan, since they change rounding.
        strips: prompts of each arm whose look-aheads are saved for the report.
        fail_on: the run stops if a larger fraction of the cells has failed.
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
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(f"Two arms are called {repeated[0]!r}. Give each arm a different name.")
        taken = sorted(set(names) & set(CONTROLS))
        if taken:
            raise InputError(f"An arm is called {taken[0]!r}, which is a control that every comparison has. Give it another name.")
        for name in names:
            if not name.strip() or not name.isprintable():
                raise InputError(f"The name of an arm is {name!r}. Give each arm a name of visible characters.")
        for name, least in (("pool", 1), ("batch", 1), ("threads", 1), ("strips", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, but is {getattr(self, name)}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds must be at least one number, none of them twice, but is {list(self.seeds)}.")
        scores = [self.target, *self.held_out, self.primary, *(arm.target for arm in self.arms)]
        columns = sorted(set(scores) & set(COLUMNS))
        if columns:
            raise InputError(f"{columns[0]!r} cannot be a score of a comparison, since its table has another column of that name.")
        if not 0 <= self.fail_on <= 1:
            raise InputError(f"fail_on must be a fraction of the cells, in [0, 1], but is {self.fail_on}.")


def read_spec(path: Path) -> Spec:
    """The comparison that a `bench.toml` describes. Raises `LoadError` or `InputError` naming the entry."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LoadError(f"{path} could not be read as a comparison: {error}. `tta bench init` writes one to start from.") from error
    return spec_of(written, str(path))


def spec_of(written: Mapping[str, Any], source: str) -> Spec:
    """The comparison that plain data describe. Raises `InputError` naming the entry that is wrong."""
    try:
        return _CONVERTER.structure(written, Spec)
    except (cattrs.BaseValidationError, ForbiddenExtraKeysError) as error:
        refused = _refusal(error)
        if refused is not None:
            raise refused from error
        raise InputError(
            f"{source}: {'; '.join(transform_error(error, path='bench'))}. `tta bench init` writes a complete example."
        ) from error


def _refusal(error: BaseException) -> InputError | None:
    """The `InputError` of our own checks inside the error that cattrs raised, if there is one."""
    if isinstance(error, InputError):
        return error
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((refused for part in parts if (refused := _refusal(part)) is not None), None)


def _exactly(value: object, kind: type) -> object:
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return float(value) if kind is float else value  # type: ignore[arg-type]


def _setting(value: object, _kind: object) -> object:
    if not isinstance(value, Setting):
        raise TypeError(f"{value!r} is not a text, number or boolean; write a value such as 'Fraction(0.1)' as text")
    return value


def _table(structure: Callable[..., object], value: object, kind: type) -> object:
    if not isinstance(value, Mapping):
        raise InputError(f"{value!r:.100} is not a table of entries. Write [[arms]] above each arm, and [prompts] above the prompts.")
    return structure(value, kind)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (int, float, str, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(Setting, _setting)
    for table in (Choice, Arm, Spec):
        converter.register_structure_hook(table, partial(_table, make_dict_structure_fn(table, converter, _cattrs_forbid_extra_keys=True)))
    return converter


_CONVERTER = _converter()
