"""Schedules: frozen, printable functions of a step's index and the number of steps."""

import math
from typing import Protocol, runtime_checkable

import attrs

from tta_core.errors import InputError
from tta_core.values.typing import frozen


@runtime_checkable
class Schedule(Protocol):
    """A number for step `index` of `total`; a schedule that selects steps gives 0 or 1. Schedules can be multiplied:
    `Fraction(0.5) * Window(0.5, 1)`."""

    def __call__(self, index: int, total: int) -> float:
        """The number at a step."""
        ...

    def __mul__(self, other: "Schedule") -> "Schedule":
        """The product of two schedules."""
        ...


def at_step(value: float | int | Schedule, index: int, total: int) -> float:
    """The value at this step of a number or a schedule."""
    return float(value) if isinstance(value, int | float) else value(index, total)


def _unit(instance: object, attribute: "attrs.Attribute[float]", value: float | int) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{type(instance).__name__}.{attribute.name} is {value}, but it is a share of the run. Give a number in [0, 1].")


class _Multiplies:
    __slots__ = ()

    def __mul__(self, other: Schedule) -> "Multiplied":
        return Multiplied(self, other)  # type: ignore[arg-type]


@frozen
class Multiplied(_Multiplies):
    """The product of two schedules."""

    first: Schedule
    second: Schedule

    def __call__(self, index: int, total: int) -> float:
        """The product of their values."""
        return self.first(index, total) * self.second(index, total)


@frozen
class Constant(_Multiplies):
    """The same number at every step."""

    value: float = 1.0

    def __call__(self, index: int, total: int) -> float:
        """The value."""
        return self.value


@frozen
class Geometric(_Multiplies):
    """min(1, (1 + rate)^index - 1): from 0 up to 1. Source: Null-TTA (arXiv 2511.20889), the annealing of its inner steps."""

    rate: float

    def __call__(self, index: int, total: int) -> float:
        """The share reached at this step; it depends on the index, not on the number of steps."""
        return min(1.0, (1 + self.rate) ** index - 1)


@frozen
class GeometricDecay(_Multiplies):
    """max(0, 2 - (1 + rate)^index): from 1 down to 0, the complement of `Geometric`. Source: Null-TTA, the decay of its penalties."""

    rate: float

    def __call__(self, index: int, total: int) -> float:
        """The share left at this step."""
        return max(0.0, 2 - (1 + self.rate) ** index)


@frozen
class Every(_Multiplies):
    """1 at steps 0, n, 2n ..., else 0."""

    n: int = 1

    def __attrs_post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"Every.n is {self.n}, but it is the number of steps from one update to the next. Give 1 or more.")

    def __call__(self, index: int, total: int) -> float:
        """Whether this step is chosen."""
        return float(index % self.n == 0)


@frozen
class Fraction(_Multiplies):
    """1 at a share of the steps, spread evenly from step 0: `Fraction(0.1)` of 50 is 0, 10, 20, 30, 40."""

    share: float = attrs.field(validator=_unit)

    def __call__(self, index: int, total: int) -> float:
        """Whether this step is chosen; exactly round(share * total) steps are."""
        count = round(self.share * total)
        return float(index in {math.ceil(j * total / count) for j in range(count)}) if count else 0.0


@frozen
class Window(_Multiplies):
    """1 from a share of the run to another, `start <= index / total < stop`."""

    start: float = attrs.field(default=0.0, validator=_unit)
    stop: float = attrs.field(default=1.0, validator=_unit)

    def __call__(self, index: int, total: int) -> float:
        """Whether this step lies in the window."""
        return float(self.start * total <= index < self.stop * total)


@frozen
class AllButLast(_Multiplies):
    """1 at every step but the last, where it is 0."""

    def __call__(self, index: int, total: int) -> float:
        """Whether another step follows."""
        return float(index + 1 < total)


@frozen
class Steps(_Multiplies):
    """1 at the listed steps."""

    indices: tuple[int, ...]

    def __call__(self, index: int, total: int) -> float:
        """Whether this step is listed."""
        return float(index in self.indices)


@frozen
class Power(_Multiplies):
    """min(1, (rate * index)^exponent): from 0 up to 1. Source: DAS (arXiv 2501.05803), polynomial tempering."""

    rate: float
    exponent: float = 1.0

    def __call__(self, index: int, total: int) -> float:
        """The share reached at this step; it depends on the index, not on the number of steps."""
        return min(1.0, (self.rate * index) ** self.exponent)


@frozen
class Listed(_Multiplies):
    """One number for each step, in order, for instance those of another run. Raises `InputError` for a run of another number of steps."""

    values: tuple[float, ...]

    def __call__(self, index: int, total: int) -> float:
        """The number of this step."""
        if len(self.values) != total:
            raise InputError(f"Listed has {len(self.values)} numbers, but it is used for {total} steps. Give one for each step.")
        return self.values[index]


@frozen
class AtShares(_Multiplies):
    """1 at the steps nearest to these shares of the run: `AtShares((0.2, 0.4))` of 50 is 10 and 20."""

    shares: tuple[float, ...]

    def __call__(self, index: int, total: int) -> float:
        """Whether this step is chosen."""
        return float(index in {round(share * total) for share in self.shares})
