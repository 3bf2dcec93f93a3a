"""Best of n for every n, from one pool of plain samples: unbiased, and far less noisy than new samples for each n.

Let the N samples of a prompt be sorted by the target. The probability that the i-th is the best of n drawn without replacement is
w_i = C(i - 1, n - 1) / C(N, n). So sum w_i x_(i) is E[max of n]. The same weights on another score, in the target's order, give that
score's expectation under selection by the target.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import groupby, islice


def best_of(n: float | int, target: Sequence[float | int], score: Sequence[float | int]) -> float:
    """The expected score of the sample with the highest target among n. A fractional n interpolates between its neighbours.

    Samples with equal targets are equally likely to be kept. Raises `ValueError` for n outside [1, N].
    """
    if not 1 <= n <= len(target):
        raise ValueError(f"best of {n:g} needs a pool of at least that size, but it has {len(target)} samples; n is in [1, {len(target)}]")
    low = math.floor(n)
    share = n - low
    kept = _best_of(low, target, score)
    return kept if share == 0 else (1 - share) * kept + share * _best_of(low + 1, target, score)


@cache
def weights(total: int, n: int) -> tuple[float, ...]:
    """The weights w_1 .. w_N, which sum to 1."""
    return tuple(math.comb(place, n - 1) / math.comb(total, n) for place in range(total))


def divergence(n: float | int) -> float:
    """KL divergence of best of n from plain sampling, log n - (n - 1) / n, in nats; exact for a continuous target."""
    return math.log(n) - (n - 1) / n


def _best_of(n: int, target: Sequence[float | int], score: Sequence[float | int]) -> float:
    order, chances = sorted(range(len(target)), key=target.__getitem__), iter(weights(len(target), n))
    parts = []
    for _, tied in groupby(order, key=target.__getitem__):
        scores = [score[draw] for draw in tied]
        parts.append(math.fsum(scores) / len(scores) * math.fsum(islice(chances, len(scores))))
    return math.fsum(parts)
