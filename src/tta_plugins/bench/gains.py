"""An arm's gain over plain sampling: means, intervals, wins, joint rates, and a bound for its failed cells."""

from collections.abc import Collection, Mapping, Sequence

import attrs

from tta_plugins.bench.results import Results
from tta_plugins.bench.statistics import LEVEL, Interval, interval, paired, prompt_means, wins

Pairs = Mapping[tuple[int, int], float]
PLAIN = "fixed"


@attrs.frozen
class Gain:
    """One score of one arm.

    Attributes:
        worst: the mean gain if every failed cell had the worst value of the column; None if none failed.
    """

    mean: float
    gain: Interval
    wins: Interval
    worst: float | None


def gain_of(results: Results, arm: str, column: str, level: float = LEVEL) -> Gain | None:
    """The gain of an arm in one column; None if no cell of the arm has a plain cell to compare with."""
    values, plain = results.values(arm, column), results.values(PLAIN, column)
    differences = paired(values, plain)
    if not differences:
        return None
    mean = sum(prompt_means(values).values()) / len(prompt_means(values))
    gain = interval(list(prompt_means(differences).values()), level)
    return Gain(mean, gain, wins(differences), _worst(results, arm, column))


def by_value(results: Results, arm: str, column: str, groups: Mapping[str, Collection[int]]) -> dict[str, Interval]:
    """The gain over the prompts of each group."""
    means = prompt_means(paired(results.values(arm, column), results.values(PLAIN, column)))
    return {name: interval([means[prompt] for prompt in sorted(means.keys() & set(prompts))]) for name, prompts in groups.items()}


def joint(results: Results, arm: str, columns: Sequence[str]) -> tuple[float, float] | None:
    """The fractions of pairs in which every score rose, and in which only the first rose while all others fell; None without pairs."""
    gains = [paired(results.values(arm, column), results.values(PLAIN, column)) for column in columns]
    pairs = set.intersection(*map(set, gains)) if gains else set()
    if not pairs or len(columns) < 2:
        return None
    domination = sum(all(gain[pair] > 0 for gain in gains) for pair in pairs)
    collapse = sum(gains[0][pair] > 0 and all(gain[pair] < 0 for gain in gains[1:]) for pair in pairs)
    return domination / len(pairs), collapse / len(pairs)


def _worst(results: Results, arm: str, column: str) -> float | None:
    """The mean gain with failed cells of the arm counted as the column's lowest value, and failed plain cells as its highest."""
    rows = [*results.of(PLAIN), *(results.of(arm) if arm != PLAIN else [])]
    if all(row.status == "done" for row in rows):
        return None
    known = [row.numbers[column] for row in results.rows if column in row.numbers]
    values, plain = dict(results.values(arm, column)), dict(results.values(PLAIN, column))
    for row in rows:
        if row.status != "done":
            (values if row.arm == arm else plain)[row.cell.prompt, row.cell.seed] = min(known) if row.arm == arm else max(known)
    means = prompt_means(paired(values, plain))
    return sum(means.values()) / len(means)
