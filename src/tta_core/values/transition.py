"""The Gaussian transition p(x_{t-1} | x_t): sampling, several children, KL divergence and density."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tta_core.errors import IncompatibleError
from tta_core.values.typing import Latents, Noises, Scores, frozen


@frozen
class GaussianTransition:
    """N(mean, std^2 I) over the next latents; `std` is 0 for a deterministic sampler or step."""

    mean: Latents
    std: float

    def sample(self, noise: Latents) -> Latents:
        """mean + std * noise: reparametrised, so that gradients reach the noise (DNO steers it)."""
        return self.mean + self.std * noise

    def branch(self, noises: Noises) -> Float[Tensor, "k*b c h w"]:
        """One child per given noise and sample, laid out `(k b)`, k-major."""
        return rearrange(self.mean + self.std * noises, "k b c h w -> (k b) c h w")

    def repeated(self, rows: int) -> "GaussianTransition":
        """The transition repeated to `rows` rows, k-major."""
        return GaussianTransition(as_batch(self.mean, rows), self.std)

    def __getitem__(self, rows: slice | Tensor) -> "GaussianTransition":
        """The transitions of some rows."""
        return GaussianTransition(self.mean[rows], self.std)

    def shifted(self, by: Latents) -> "GaussianTransition":
        """The same noise around a shifted mean; guidance adds the shift to the next x."""
        return GaussianTransition(self.mean + by, self.std)

    def log_ratio(self, noise: Latents, gradient: Latents) -> Scores:
        """log p(x') - log q(x') per sample, in nats, for x' sampled with this noise from q = `self.shifted(std^2 gradient)`, and p = self.

        Computed as -std <noise, gradient> - std^2 |gradient|^2 / 2, without cancellation; it is 0 if std is 0.
        """
        inner, square = ((tensor * gradient).flatten(1).sum(1) for tensor in (noise, gradient))
        return -self.std * inner - 0.5 * self.std**2 * square

    def kl(self, other: "GaussianTransition") -> Scores:
        """KL(self || other) per sample, in nats.

        Raises:
            IncompatibleError: one std is 0; point masses have no finite KL divergence.
        """
        if self.std <= 0 or other.std <= 0:
            raise IncompatibleError(
                "Cannot use a KL divergence with a deterministic transition. This is because the KL of two point masses is infinite or 0, "
                "but this step has std 0. Use a stochastic sampler (eta > 0), or a penalty that needs no transition (kernel='training')."
            )
        ratio = self.std / other.std
        dimensions = self.mean[0].numel()
        distance = (self.mean - other.mean).square().flatten(1).sum(1) / other.std**2
        return 0.5 * (distance + dimensions * (ratio**2 - 1 - 2 * math.log(ratio)))

    def log_prob(self, x: Latents) -> Scores:
        """log N(x; mean, std^2 I) per sample, in nats, summed over dimensions. Raises `IncompatibleError` if std is 0."""
        if self.std <= 0:
            raise IncompatibleError(
                "Cannot use a log-density with a deterministic transition. This is because a point mass has none, but this step has "
                "std 0. Use a stochastic sampler (eta > 0)."
            )
        squares = ((x - self.mean) / self.std).square().flatten(1)
        return -0.5 * squares.sum(1) - x[0].numel() * (math.log(self.std) + 0.5 * math.log(2 * math.pi))


def log_snr_half(a: float, s: float) -> float:
    """lambda = log(a / s), the time of the DPM-Solver papers; infinite at the ends."""
    if a <= 0:
        return -math.inf
    return math.inf if s <= 0 else math.log(a / s)


def posterior_std(a: float, s: float, a_next: float, s_next: float) -> float:
    """Standard deviation of x' given x and x0, where x = a x0 + s eps: the noise of a step with eta = 1.

    Source: DDIM (arXiv 2010.02502) eq. 16, in the form s'^2 (1 - (a s' / (a' s))^2) that holds for VP, VE and flow alike.
    """
    if s <= 0 or a_next <= 0:
        return s_next
    return s_next * math.sqrt(max(0.0, 1 - (a * s_next / (a_next * s)) ** 2))


def noised(x: Latents, noise: Latents, here: tuple[float, float], earlier: tuple[float, float]) -> Latents:
    """Adds noise to x, given at `here` (a, s), up to the `earlier` and higher noise level (a^, s^): (a^/a) x + sqrt(s^^2 - (a^ s / a)^2)
    noise.

    Source: the transition of the forward process for any table; RePaint (arXiv 2201.09865) for its use.
    """
    ratio = earlier[0] / here[0]
    return ratio * x + math.sqrt(max(0.0, earlier[1] ** 2 - (ratio * here[1]) ** 2)) * noise


def as_batch(x: Tensor, rows: int) -> Tensor:
    """Repeats a tensor of b rows to `rows` rows, k-major; returns the same tensor if it has that many already."""
    if x.shape[0] == rows:
        return x
    return torch.cat([x] * (rows // x.shape[0]))
