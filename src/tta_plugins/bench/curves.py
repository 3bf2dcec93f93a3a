"""Gain against cost: the gain of best of n at each cost, and how an arm compares with it at the arm's cost."""

from collections.abc import Mapping, Sequence

import attrs

from tta_plugins.bench.gains import PLAIN
from tta_plugins.bench.pool import best_of, divergence
from tta_plugins.bench.results import Results
from tta_plugins.bench.statistics import Interval, interval, paired, prompt_means

POOL = "pool"


@attrs.frozen
class Point:
    """Best of n by a target: the gains over one sample, by score."""

    n: int
    divergence: float
    gains: Mapping[str, Interval]


@attrs.frozen
class Rival:
    """Best of n at an arm's cost.

    Attributes:
        gains: the arm's gain minus that of best of n, by score.
        capped: the pool has fewer samples than this cost pays for.
    """

    n: float
    capped: bool
    gains: Mapping[str, Interval]


def pool_curve(results: Results, target: str, columns: Sequence[str]) -> list[Point]:
    """One point for every n up to the size of the smallest prompt's pool."""
    draws = _draws(results, {target, *columns})
    largest = min((len(values[target]) for values in draws.values()), default=0)
    return [
        Point(n, divergence(n), {column: interval([_gain(values, n, target, column) for values in draws.values()]) for column in columns})
        for n in range(1, largest + 1)
    ]


def peak(curve: Sequence[Point], column: str) -> int | None:
    """The n at which the kept sample's score is highest. With a larger n, selection by the target lowers this score."""
    return max(curve, key=lambda point: point.gains[column].mean).n if curve else None


def cost_ratio(results: Results, arm: str, unit: str = "flops") -> float | None:
    """The cost of one image in plain samples: in FLOPs of all networks where they are known, else in rows through the denoiser."""
    for name in dict.fromkeys((unit, "evaluations")):
        own, plain = (list(results.values(each, name).values()) for each in (arm, PLAIN))
        if own and plain:
            return (sum(own) / len(own)) / (sum(plain) / len(plain))
    return None


def rival(results: Results, arm: str, target: str, columns: Sequence[str], n: float) -> Rival | None:
    """The arm against best of n at its cost, n plain samples. Both are gains over plain sampling, each over its own plain samples."""
    draws = _draws(results, {target, *columns})
    if not draws:
        return None
    largest = min(len(values[target]) for values in draws.values())
    capped, n = n > largest, min(max(n, 1.0), float(largest))
    gains = {}
    for column in columns:
        own = prompt_means(paired(results.values(arm, column), results.values(PLAIN, column)))
        differences = [own[prompt] - _gain(draws[prompt], n, target, column) for prompt in sorted(own.keys() & draws.keys())]
        if differences:
            gains[column] = interval(differences)
    return Rival(n, capped, gains)


def _gain(values: Mapping[str, Sequence[float]], n: float | int, target: str, column: str) -> float:
    return best_of(n, values[target], values[column]) - best_of(1, values[target], values[column])


def _draws(results: Results, columns: set[str]) -> dict[int, dict[str, list[float]]]:
    """By prompt and column, the values of the pool's samples that have every column."""
    values: dict[int, dict[str, list[float]]] = {}
    for row in results.of(POOL):
        if columns <= row.numbers.keys():
            of_prompt = values.setdefault(row.cell.prompt, {column: [] for column in columns})
            for column in columns:
                of_prompt[column].append(row.numbers[column])
    return values
