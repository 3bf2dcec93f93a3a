"""The mixtures keep the laws of backbones, and are exact as they claim."""

import pytest
import torch

from tta_core import Embedding
from tta_core.testing import BackboneSuite, GaussianMixture, NetworkedMixture
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import OUTPUTS, latents, steps


class TestMixture(BackboneSuite):
    @pytest.fixture(params=OUTPUTS)
    def backbone(self, request):
        return GaussianMixture(output=request.param)


class TestPooledMixture(BackboneSuite):
    @pytest.fixture
    def backbone(self):
        return GaussianMixture(pooled=True)


class TestMixtureWithoutNull(BackboneSuite):
    @pytest.fixture
    def backbone(self):
        return GaussianMixture(has_null=False)


class TestNetworkedMixture(BackboneSuite):
    @pytest.fixture
    def backbone(self):
        mixture = NetworkedMixture()
        for network in mixture.networks.values():
            network.eval()
        return mixture


@drawn(x=latents(), step=steps())
def test_the_posterior_mean_is_given_by_the_gradient_of_the_log_density(x, step):
    """Tweedie's formula E[x0 | x] = (x + s^2 d log p / dx) / a, where autograd of the density gives the score: two ways to compute one
    number."""
    if step.a == 0:
        return
    mixture = GaussianMixture(pooled=True)
    embedding = mixture.encode(["a", "b"], 8, 8)
    leaf = x.double().requires_grad_()
    score = torch.autograd.grad(_log_density(mixture, leaf, step, embedding).sum(), leaf)[0]
    expected = (leaf.detach() + step.s**2 * score) / step.a
    exact = mixture.posterior_mean(x, step, embedding)
    assert (exact - expected).abs().max() <= 1e-5 * (1 + expected.abs().max())


def _log_density(mixture: GaussianMixture, x: torch.Tensor, step, embedding: Embedding):
    return mixture.log_density(x, step, embedding)


def test_the_density_is_that_of_its_own_samples():
    """E_q[p / q] = 1 for samples of q, a wide Gaussian, so the density is normalised (over four numbers, one latent pixel)."""
    mixture, generator = GaussianMixture(sigma=1.0), torch.Generator().manual_seed(0)
    embedding = mixture.encode(["a red circle"], 2, 2)
    wide, rows = 3.0, 40_000
    x = wide * torch.randn(rows, 4, 1, 1, generator=generator)
    step = BackboneSuite.step
    log_q = torch.distributions.Normal(0.0, wide).log_prob(x.double()).flatten(1).sum(1)
    ratio = (mixture.log_density(x, step, embedding.repeated(rows)) - log_q).exp().mean()
    assert abs(ratio - 1) < 0.05


def test_the_text_moves_the_mixture_and_steering_zero_does_not():
    """Gradients reach the tokens through the weights and the shift; `steering` scales both."""
    embedding = GaussianMixture().encode(["a red circle", "a blue square"], 8, 8)
    x = torch.ones(2, 4, 4, 4)
    moved = GaussianMixture().predict(x, BackboneSuite.step, embedding)
    still = GaussianMixture(steering=0.0).predict(x, BackboneSuite.step, embedding)
    assert not torch.allclose(moved[0], moved[1])
    assert torch.equal(still[0], still[1])


def test_different_latents_have_different_images():
    """The decoder is injective: the images of a basis are linearly independent."""
    basis = torch.eye(64).view(64, 4, 4, 4)
    images = GaussianMixture().decode(basis) - GaussianMixture().decode(torch.zeros(1, 4, 4, 4))
    assert torch.linalg.matrix_rank(images.flatten(1)) == 64
