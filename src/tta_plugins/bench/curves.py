"""Gain against cost: what best of n reaches at each cost, and how an arm compares with it at the arm's cost."""

from collections.abc import Mapping, Sequence

import attrs

from tta_plugins.bench.gains import PLAIN
from tta_plugins.bench.pool import best_of, divergence
from tta_plugins.bench.results import Results
from tta_plugins.bench.statistics import Interval, interval, paired, prompt_means

POOL = "pool"


@attrs.frozen
class Point:
    """Best of n by a target: the gains over one draw, by score."""

    n: int
    divergence: float
    gains: Mapping[str, Interval]


@attrs.frozen
class Rival:
    """Best of n at an arm's cost. `gains`: what the arm gained beyond it, by score. `capped`: the pool is smaller than the cost allows."""

    n: float
    capped: bool
    gains: Mapping[str, Interval]


def pool_curve(results: Results, target: str, columns: Sequence[str]) -> list[Point]:
    """For every n up to the smallest pool of a prompt."""
    draws = _draws(results, {target, *columns})
    largest = min((len(values[target]) for values in draws.values()), default=0)
    return [
        Point(n, divergence(n), {column: interval([_gain(values, n, target, column) for values in draws.values()]) for column in columns})
        for n in range(1, largest + 1)
    ]


def peak(curve: Sequence[Point], column: str) -> int | None:
    """The n at which the score of the kept sample is highest; beyond it, more selection by the target lowers this score."""
    return max(curve, key=lambda point: point.gains[column].mean).n if curve else None


def cost_ratio(results: Results, arm: str, unit: str = "flops") -> float | None:
    """The cost of one image in plain samples: FLOPs of all networks if they are known, else rows through the denoiser."""
    for name in dict.fromkeys((unit, "evaluations")):
        own, plain = (list(results.values(who, name).values()) for who in (arm, PLAIN))
        if own and plain:
            return (sum(own) / len(own)) / (sum(plain) / len(plain))
    return None


def rival(results: Results, arm: str, target: str, columns: Sequence[str], n: float) -> Rival | None:
    """The arm against best of n, n its cost in plain draws. Both are taken as gains over plain sampling, each paired with its own draws."""
    draws = _draws(results, {target, *columns})
    if not draws:
        return None
    largest = min(len(values[target]) for values in draws.values())
    capped, n = n > largest, min(max(n, 1.0), float(largest))
    found = {}
    for column in columns:
        own = prompt_means(paired(results.values(arm, column), results.values(PLAIN, column)))
        beyond = [own[prompt] - _gain(draws[prompt], n, target, column) for prompt in sorted(own.keys() & draws.keys())]
        if beyond:
            found[column] = interval(beyond)
    return Rival(n, capped, found)


def _gain(values: Mapping[str, Sequence[float]], n: float | int, target: str, column: str) -> float:
    return best_of(n, values[target], values[column]) - best_of(1, values[target], values[column])


def _draws(results: Results, columns: set[str]) -> dict[int, dict[str, list[float]]]:
    """By prompt and column, the draws that have every column."""
    found: dict[int, dict[str, list[float]]] = {}
    for row in results.of(POOL):
        if columns <= row.numbers.keys():
            mine = found.setdefault(row.cell.prompt, {column: [] for column in columns})
            for column in columns:
                mine[column].append(row.numbers[column])
    return found
