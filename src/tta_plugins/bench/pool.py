"""Best of n for every n, from one pool of plain samples: unbiased, and far less noisy than new samples for each n.

With the N draws of a prompt sorted by the target, the i-th is the best of n drawn without replacement with the probability
w_i = C(i - 1, n - 1) / C(N, n). So sum w_i x_(i) is E[max of n], and the same weights on another score, in the target's order, give what
selection by the target does to that score.
"""

import math
from collections.abc import Sequence
from itertools import groupby


def best_of(n: float | int, target: Sequence[float | int], score: Sequence[float | int]) -> float:
    """The expected score of what is kept of n draws, by the target. n between whole numbers draws either, in that proportion.

    Draws with equal targets are equally likely to be kept. Raises `ValueError` for n outside [1, N].
    """
    if not 1 <= n <= len(target):
        raise ValueError(f"best of {n:g} cannot be had from {len(target)} draws")
    low = math.floor(n)
    share = n - low
    kept = _best_of(low, target, score)
    return kept if share == 0 else (1 - share) * kept + share * _best_of(low + 1, target, score)


def weights(total: int, n: int) -> list[float]:
    """w_1 .. w_N; they sum to 1."""
    return [math.comb(place, n - 1) / math.comb(total, n) for place in range(total)]


def divergence(n: float | int) -> float:
    """KL divergence of best of n from plain sampling, log n - (n - 1) / n, in nats; exact for a continuous target."""
    return math.log(n) - (n - 1) / n


def _best_of(n: int, target: Sequence[float | int], score: Sequence[float | int]) -> float:
    order = sorted(range(len(target)), key=lambda draw: target[draw])
    weighed = list(zip(weights(len(target), n), order, strict=True))
    total = 0.0
    for _, tied in groupby(weighed, key=lambda pair: target[pair[1]]):
        group = list(tied)
        mean = math.fsum(score[draw] for _, draw in group) / len(group)
        total += mean * math.fsum(weight for weight, _ in group)
    return total
