"""A backbone whose images come from a Gaussian mixture, so that its score is known in closed form.

Given the text c, clean latents are x0 ~ sum_k w_k(c) N(mu_k + shift(c), sigma^2 I). At x = a x0 + s eps every component stays Gaussian, so
p(x), its score, the posterior mean E[x0 | x] and with it the network's output are exact, and differentiable in x and in c.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from tta_core.errors import InputError
from tta_core.protocols.backbone import Defaults, classifier_free
from tta_core.protocols.scheduler import Output
from tta_core.testing.tables import vp_scheduler
from tta_core.values.controls import Embedding
from tta_core.values.noise import keyed_normal
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores, frozen

CHANNELS, TOKENS, WIDTH, POOLED = 4, 3, 8, 5


@frozen
class GaussianMixture:
    """A `Backbone` without networks; latents `(4, H/2, W/2)`, tokens `(3, 8)`.

    Attributes:
        components: the number of Gaussians; with 1, the means and variances of samplers are known.
        sigma: their common standard deviation.
        spread: standard deviation of each coordinate of the fixed means mu_k.
        steering: the influence of the text: it scales the weights' logits and the shift; 0: the text has no influence.
        output: the quantity that the "network" predicts; use the scheduler's.
        has_null: whether there is an unconditional branch, the mixture of the empty prompt.
        pooled: whether there is also a pooled embedding, which shifts all means.
    """

    components: int = 4
    sigma: float = 0.5
    spread: float = 1.0
    steering: float = 1.0
    output: Output = "epsilon"
    has_null: bool = True
    pooled: bool = False

    @property
    def defaults(self) -> Defaults:
        """Ten steps to images of 8 x 8."""
        return Defaults(steps=10, guidance=2.0, height=8, width=8)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Empty: the backbone is a formula."""
        return {}

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def sampler(self) -> object:
        """The function `vp_scheduler`, which makes the usual table."""
        return vp_scheduler

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Half the image's size, 4 channels."""
        if min(height, width) < 2 or height % 2 or width % 2:
            raise InputError(f"Cannot use size {height} x {width} with a GaussianMixture. Use an even height and width of at least 2.")
        return CHANNELS, height // 2, width // 2

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """Standard normals that are a function of the text."""
        tokens = torch.stack([keyed_normal(("tokens", prompt), (TOKENS, WIDTH)) for prompt in prompts])
        pooled = torch.stack([keyed_normal(("pooled", prompt), (POOLED,)) for prompt in prompts]) if self.pooled else None
        return Embedding(tokens, pooled)

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The negative prompts' embedding; that of the empty text for None."""
        return self.encode([prompt or "" for prompt in prompts], height, width) if self.has_null else None

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The exact output of the branch, in the parametrisation `output`."""
        x0 = self._posterior_mean(x.double(), step.a, step.s, embedding)
        eps = (x.double() - step.a * x0) / step.s
        size = math.hypot(step.a, step.s)
        outputs = {"epsilon": eps, "sample": x0, "flow": eps - x0, "v_prediction": (step.a * eps - step.s * x0) / size}
        return outputs[self.output].float()

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Plain classifier-free guidance."""
        return classifier_free(text, null, guidance)

    def decode(self, x0: Latents) -> Images:
        """Grey plus an injective linear map: each latent pixel becomes 2 x 2 image pixels."""
        return 0.5 + conv_transpose2d(x0, _palette().to(x0), stride=2)

    def posterior_mean(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """E[x0 | x] for one branch; Tweedie's estimate must equal it."""
        return self._posterior_mean(x.double(), step.a, step.s, embedding).float()

    def log_density(self, x: Latents, step: Step, embedding: Embedding) -> Scores:
        """log p(x) at a step's noise level, in nats, in double precision."""
        means, logits = self._mixture(x, embedding)
        variance = (step.a * self.sigma) ** 2 + step.s**2
        squares = (x.double()[:, None] - step.a * means).square().flatten(2).sum(2)
        constant = 0.5 * x[0].numel() * math.log(2 * math.pi * variance)
        return torch.logsumexp(torch.log_softmax(logits, 1) - squares / (2 * variance), 1) - constant

    def _posterior_mean(self, x: Latents, a: float, s: float, embedding: Embedding) -> Latents:
        means, logits = self._mixture(x, embedding)
        variance = (a * self.sigma) ** 2 + s**2
        residual = x[:, None] - a * means
        weights = torch.softmax(logits - residual.square().flatten(2).sum(2) / (2 * variance), 1)
        each = means + (a * self.sigma**2 / variance) * residual
        return (weights[:, :, None, None, None] * each).sum(1)

    def _mixture(self, x: Latents, embedding: Embedding) -> tuple[Float[Tensor, "b m c h w"], Float[Tensor, "b m"]]:
        tokens = embedding.tokens.double().flatten(1)
        logits = self.steering * tokens @ _fixed("logits", TOKENS * WIDTH, self.components)
        shift = self.steering * tokens @ _fixed("shift", TOKENS * WIDTH, CHANNELS)
        if embedding.pooled is not None:
            shift = shift + self.steering * embedding.pooled.double() @ _fixed("pooled shift", POOLED, CHANNELS)
        return self.spread * _means(self.components, x.shape[1:]) + shift[:, None, :, None, None], logits


@cache
def _fixed(name: str, rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """A fixed matrix that maps standard normals to about standard normals."""
    return keyed_normal((name,), (rows, columns)).double() / math.sqrt(rows)


@cache
def _means(components: int, shape: tuple[int, ...]) -> Float64[Tensor, "m c h w"]:
    """The centres of the components."""
    return torch.stack([keyed_normal(("mean", component), shape) for component in range(components)]).double()


@cache
def _palette() -> Float[Tensor, "4 3 2 2"]:
    """Four orthogonal 2 x 2 colour patterns, small enough that decoded samples stay in about [0, 1]."""
    basis = torch.linalg.qr(keyed_normal(("palette",), (12, CHANNELS)))[0]
    return 0.12 * basis.T.reshape(CHANNELS, 3, 2, 2).contiguous()
