"""What an arm gained over plain sampling: means, intervals, wins, joint rates, and what its failures could hide."""

from collections.abc import Collection, Mapping, Sequence

import attrs

from tta_plugins.bench.results import Results
from tta_plugins.bench.statistics import LEVEL, Interval, interval, paired, prompt_means, wins

Pairs = Mapping[tuple[int, int], float]
PLAIN = "fixed"


@attrs.frozen
class Gain:
    """One score of one arm. `worst`: the mean gain if every failed cell had got the worst value seen, where some failed."""

    mean: float
    gain: Interval
    wins: Interval
    worst: float | None


def gain_of(results: Results, arm: str, column: str, level: float = LEVEL) -> Gain | None:
    """The gain of an arm in one column; None where nothing is paired."""
    values, plain = results.values(arm, column), results.values(PLAIN, column)
    differences = paired(values, plain)
    if not differences:
        return None
    mean = sum(prompt_means(values).values()) / len(prompt_means(values))
    found = interval(list(prompt_means(differences).values()), level)
    return Gain(mean, found, wins(differences), _worst(results, arm, column))


def by_value(results: Results, arm: str, column: str, groups: Mapping[str, Collection[int]]) -> dict[str, Interval]:
    """The gain among the prompts of each group."""
    means = prompt_means(paired(results.values(arm, column), results.values(PLAIN, column)))
    return {name: interval([means[prompt] for prompt in sorted(means.keys() & set(prompts))]) for name, prompts in groups.items()}


def joint(results: Results, arm: str, columns: Sequence[str]) -> tuple[float, float] | None:
    """The shares of pairs in which every score rose, and in which the first rose while all others fell; None where nothing is paired."""
    gains = [paired(results.values(arm, column), results.values(PLAIN, column)) for column in columns]
    pairs = set.intersection(*map(set, gains)) if gains else set()
    if not pairs or len(columns) < 2:
        return None
    domination = sum(all(gain[pair] > 0 for gain in gains) for pair in pairs)
    collapse = sum(gains[0][pair] > 0 and all(gain[pair] < 0 for gain in gains[1:]) for pair in pairs)
    return domination / len(pairs), collapse / len(pairs)


def _worst(results: Results, arm: str, column: str) -> float | None:
    """Failed cells of the arm count as the worst value of the column, failed plain ones as its best."""
    rows = [*results.of(PLAIN), *(results.of(arm) if arm != PLAIN else [])]
    if all(row.status == "done" for row in rows):
        return None
    seen = [row.numbers[column] for row in results.rows if column in row.numbers]
    values, plain = dict(results.values(arm, column)), dict(results.values(PLAIN, column))
    for row in rows:
        if row.status != "done":
            (values if row.arm == arm else plain)[row.cell.prompt, row.cell.seed] = min(seen) if row.arm == arm else max(seen)
    means = prompt_means(paired(values, plain))
    return sum(means.values()) / len(means)
