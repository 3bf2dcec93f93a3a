"""DNO's probability regulariser: how improbable a vector is as white noise, by two concentration inequalities.

Notation (name -> paper): value -> z, k -> the dimension of the short vectors, m -> their number.
"""

import math
from collections.abc import Iterable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.noise import Permutations
from tta_core.values.transition import as_batch
from tta_core.values.typing import Scores

Permutation = Int[Tensor, "b n"]


def probability_regulariser(
    value: Float[Tensor, "b n"], permutations: Permutations | Iterable[Permutation] | None = None, *, subsample: int = 1
) -> Scores:
    """Reg(z) = -[q(z) + mean over permutations of q(z[perm])], in nats; at least 4 log 2 (2 log 2 without permutations).

    White noise has the lowest value and no gradient, because the bounds are clamped where they are trivial. Shifted, scaled or correlated
    noise has a far larger value. z is cut into m vectors of dimension k = 4^subsample. `permutations` are of shape `(b, n)`, or `(b, p, n)`
    as one tensor; they are read and differentiated one at a time, so that memory does not grow with their number.

    Raises:
        InputError: k does not divide the length of z.

    Source: DNO (arXiv 2405.18881), the probability regularisation: lemmas on the mean and the covariance of m Gaussian vectors.
    """
    k = 4**subsample
    if value.shape[1] % k:
        raise InputError(f"Noise of {value.shape[1]} numbers cannot be cut into vectors of {k} = 4^{subsample}. Use a smaller subsample.")
    reg = -_log_probability(value, k)
    if permutations is not None:
        reg = reg - _mean_over(permutations.unbind(1) if isinstance(permutations, Tensor) else permutations, value, k)
    return reg


def _mean_over(permutations: Iterable[Permutation], value: Float[Tensor, "b n"], k: int) -> Scores:
    """The mean of q over permutations. Its gradient is summed in the same loop, so that no permutation is kept or generated twice."""
    differentiated = torch.is_grad_enabled() and value.requires_grad
    total, slope, count = value.new_zeros(value.shape[0]), torch.zeros_like(value), 0
    for permutation in permutations:
        index = as_batch(permutation.long(), value.shape[0])
        shuffled = value.detach().gather(1, index).requires_grad_(differentiated)
        likely = _log_probability(shuffled, k)
        if differentiated:
            slope.scatter_add_(1, index, torch.autograd.grad(likely.sum(), shuffled)[0])
        total, count = total + likely.detach(), count + 1
    zero = ((value - value.detach()) * slope).sum(1)  # its value is 0 and its gradient is that of the total, which was detached
    return (total + zero) / count


def _log_probability(value: Float[Tensor, "b n"], k: int) -> Scores:
    """q = min(-m M1^2 / 2k, -log 2) + min(-m max(sqrt(1 + M2) - 1 - sqrt(k / m), 0)^2 / 2, -log 2), with M1 the norm of the mean vector
    and M2 the spectral norm of the covariance minus I."""
    vectors = rearrange(value, "b (m k) -> b m k", k=k)
    m = vectors.shape[1]
    mean_square = vectors.mean(1).square().sum(-1)
    covariance = vectors.transpose(1, 2) @ vectors / m
    spectral = torch.linalg.eigvalsh(covariance - torch.eye(k).to(covariance)).abs().amax(-1)
    excess = ((1 + spectral).sqrt() - 1 - math.sqrt(k / m)).clamp_min(0)
    likely = -math.log(2)
    return (-m * mean_square / (2 * k)).clamp_max(likely) + (-m * excess.square() / 2).clamp_max(likely)
