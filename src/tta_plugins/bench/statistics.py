"""Intervals and tests: values are paired by prompt and seed, averaged over each prompt's seeds, and tested by t over the prompts."""

import math
from collections.abc import Mapping, Sequence

import attrs
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
POWER = 0.8
_ROUNDING = 1e-12  # relative to the values


@attrs.frozen
class Interval:
    """A mean gain with its 95 % interval.

    Attributes:
        p: the two-sided p value for no gain.
        prompts: the number of prompts in the mean.
        detectable: the smallest true gain that this many prompts detect with a probability of 80 %.
    """

    mean: float
    low: float
    high: float
    p: float
    prompts: int
    detectable: float

    @property
    def above(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high < 0


def interval(by_prompt: Sequence[float], level: float = LEVEL) -> Interval:
    """The t interval of a mean over prompts, with prompts - 1 degrees of freedom; infinitely wide for fewer than two prompts.

    If all prompts have the same gain, as with scores of 0 or 1, p is the sign test's, and the interval is infinitely wide for few prompts.

    Each value is one prompt's mean over its seeds. Pairs of one prompt are not independent: treated as independent, their intervals cover
    79 % instead of 95 % (10 prompts, 4 seeds).
    """
    count = len(by_prompt)
    mean = math.fsum(by_prompt) / count if count else math.nan
    if count < 2:
        return Interval(mean, -math.inf, math.inf, 1.0, count, math.inf)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in by_prompt) / (count - 1) / count)
    if error <= _ROUNDING * abs(mean):  # t is undefined for equal values; their signs remain
        p = 1.0 if mean == 0 else 2.0 ** (1 - count)
        spread = math.inf if 1 - level < p < 1 else 0.0
        return Interval(mean, mean - spread, mean + spread, p, count, spread)
    quantile = float(stdtrit(count - 1, 0.5 + level / 2))
    p = float(2 * stdtr(count - 1, -abs(mean / error)))
    detectable = (quantile + float(stdtrit(count - 1, POWER))) * error
    return Interval(mean, mean - quantile * error, mean + quantile * error, p, count, detectable)


def prompt_means(pairs: Mapping[tuple[int, int], float]) -> dict[int, float]:
    """The mean of each prompt over its seeds, from values by (prompt, seed)."""
    grouped: dict[int, list[float]] = {}
    for (prompt, _), value in sorted(pairs.items()):
        grouped.setdefault(prompt, []).append(value)
    return {prompt: math.fsum(values) / len(values) for prompt, values in grouped.items()}


def paired(arm: Mapping[tuple[int, int], float], base: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """The differences, for the pairs that both have."""
    return {pair: arm[pair] - base[pair] for pair in arm.keys() & base.keys()}


def wins(differences: Mapping[tuple[int, int], float]) -> Interval:
    """The fraction of pairs with a gain; a tie counts half. Its interval is over prompts, like all others."""
    return interval(list(prompt_means({pair: (value > 0) + 0.5 * (value == 0) for pair, value in differences.items()}).values()))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p values adjusted for multiple tests (Holm 1979). Rejecting those below 0.05 keeps the family-wise error below 0.05."""
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = highest
    return adjusted
