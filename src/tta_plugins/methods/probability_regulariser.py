"""DNO's probability regulariser: how unlike white noise a vector is, by two concentration inequalities. One pure function.

Notation (name -> paper): value -> z, k -> the dimension of the short vectors, m -> their number.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.typing import Scores


def probability_regulariser(value: Float[Tensor, "b n"], permutations: Int[Tensor, "b p n"] | None = None, *, subsample: int = 1) -> Scores:
    """Reg(z) = -[q(z) + mean over permutations of q(z[perm])], in nats; at least 4 log 2 (2 log 2 without permutations).

    White noise has the least value and no gradient: the bounds are clamped where they say nothing. Shifted, scaled or correlated noise
    has far more. z is cut in m vectors of dimension k = 4^subsample.

    Raises:
        InputError: if k does not divide the length of z.

    Source: DNO (arXiv 2405.18881), the probability regularisation: lemmas on the mean and the covariance of m Gaussian vectors.
    """
    k = 4**subsample
    if value.shape[1] % k:
        raise InputError(f"Noise of {value.shape[1]} numbers cannot be cut in vectors of {k} = 4^{subsample}. Use a smaller subsample.")
    reg = -_log_probability(value[:, None], k).squeeze(1)
    if permutations is not None:
        shuffled = value[:, None].expand(-1, permutations.shape[1], -1).gather(2, permutations)
        reg = reg - _log_probability(shuffled, k).mean(1)
    return reg


def _log_probability(value: Float[Tensor, "b p n"], k: int) -> Float[Tensor, "b p"]:
    """q = min(-m M1^2 / 2k, -log 2) + min(-m max(sqrt(1 + M2) - 1 - sqrt(k / m), 0)^2 / 2, -log 2), with M1 the norm of the mean vector
    and M2 the spectral norm of the covariance minus I."""
    vectors = rearrange(value, "b p (m k) -> b p m k", k=k)
    m = vectors.shape[2]
    mean_square = vectors.mean(2).square().sum(-1)
    covariance = vectors.transpose(2, 3) @ vectors / m
    spectral = torch.linalg.eigvalsh(covariance - torch.eye(k).to(covariance)).abs().amax(-1)
    excess = ((1 + spectral).sqrt() - 1 - math.sqrt(k / m)).clamp_min(0)
    likely = -math.log(2)
    return (-m * mean_square / (2 * k)).clamp_max(likely) + (-m * excess.square() / 2).clamp_max(likely)
