"""Monte Carlo methods on a problem with known answers: a mixture in one dimension, whose chain is integrated by quadrature."""

import attrs
import pytest
import torch

from tta_core import Controls, Problem
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.values.controls import Embedding
from tta_core.values.schedules import Every, Geometric
from tta_plugins.methods.das import DAS
from tta_plugins.methods.fk import FK
from tta_plugins.methods.svdd import SVDD

LAST = 0.99915
SCHEDULER = vp_scheduler(20, eta=1.0, last_alpha_bar=LAST)
SCALE = 40.0  # images lie in [0, 1]


class Line(GaussianMixture):
    """A backbone with one pixel, whose value comes from a mixture of Gaussians."""

    weights = (0.5, 0.3, 0.2)
    means = (-2.0, 0.5, 2.5)
    std = 0.4

    def predict(self, x, step, embedding):
        means, weights = torch.tensor(self.means).to(x), torch.tensor(self.weights).to(x)
        variance = (step.a * self.std) ** 2 + step.s**2
        residual = x - step.a * means
        shares = torch.softmax(weights.log() - residual.square() / (2 * variance), -1)
        x0 = (shares * (means + step.a * self.std**2 / variance * residual)).sum(-1, keepdim=True)
        return (x - step.a * x0) / step.s

    def decode(self, x0):
        return (0.5 + x0 / SCALE).expand(-1, 3, -1, -1)


class Bell(Line):
    """A backbone with one Gaussian."""

    weights, means, std = (1.0,), (0.5,), 0.7


@attrs.frozen
class Drawn:
    """The noises of many populations at once."""

    samples: int

    def __call__(self, row, child):
        generator = torch.Generator().manual_seed(1000 * row + child)
        return torch.randn(self.samples, 1, 1, 1, generator=generator)

    def like(self, tensor, *key):
        raise AssertionError("no directions are drawn")

    permutations = like

    def uniform(self, count, *key):
        return torch.rand(count, self.samples, generator=torch.Generator().manual_seed(77 + key[0]), dtype=torch.float64)


def upwards(images, prompts):
    """The value of the pixel, or minus the value for the prompt "down"."""
    signs = torch.tensor([-1.0 if prompt == "down" else 1.0 for prompt in prompts])
    return signs.to(images) * SCALE * (images.mean((1, 2, 3)) - 0.5)


def problem_of(samples, backbone=None, prompts=("up",), scheduler=SCHEDULER):
    noises = Drawn(samples)
    rows = torch.stack([noises(row, 0) for row in range(21)])
    return Problem(
        backbone=backbone or Line(),
        scheduler=scheduler,
        reward=upwards,
        prompts=prompts * (samples // len(prompts)),
        controls=Controls(Embedding(torch.zeros(samples, 1, 1)), None, rows),
        noises=noises,
        guidance=1.0,
        size=(1, 1),
        tried=True,
    )


def evidence_by_quadrature(sign, backbone=None, scheduler=SCHEDULER):
    """E exp(sign x0) over the chain's own kernels."""
    grid = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    width = grid[1] - grid[0]
    value, problem = (sign * grid).exp(), problem_of(1, backbone)
    for step in reversed(scheduler.steps):
        x = grid.view(-1, 1, 1, 1)
        transition = scheduler.predict(_state(x), problem.backbone.predict(x, step, problem.controls.text), step).transition
        kernel = torch.exp(-((grid[None] - transition.mean.view(-1, 1)) ** 2) / (2 * transition.std**2))
        value = (kernel @ value) / kernel.sum(1)
    return float((value * torch.exp(-(grid**2) / 2)).sum() * width / (2 * torch.pi) ** 0.5)


def _state(x):
    from tta_core import State

    return State(x)


def ratios(last, expected):
    return last.readings["log_evidence"].exp() / expected


def assert_unbiased(found):
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - 1) < 3 * error, f"{found.mean():.4f} +- {error:.4f}"


def weighted_mean(last):
    return (last.readings["weights"] * last.readings["rewards"]).sum(0).mean().item()


def test_the_quadrature_agrees_with_the_known_answer():
    assert evidence_by_quadrature(1) == pytest.approx(2.84420, rel=2e-4)


@pytest.mark.parametrize("resampling", ["systematic", "multinomial"])
def test_das_is_exact_with_resampling_at_every_step(resampling):
    *_, last = DAS(16, 1.0, tempering=Geometric(0.2), threshold=1.1, resampling=resampling).align(problem_of(4000))
    assert_unbiased(ratios(last, 2.84420))
    assert 2.02 < weighted_mean(last) < 2.12
    upper = (last.readings["weights"] * (last.readings["rewards"] > 1.5)).sum(0).mean().item()
    assert 0.76 < upper < 0.80


def test_the_terms_missing_in_the_released_code_matter():
    """The same run without the twist and with the gradients of other particles: its evidence is some fifty times too large."""
    *_, last = DAS(16, 1.0, tempering=Geometric(0.2), threshold=1.1, resampling="systematic", lineage="released").align(problem_of(400))
    assert ratios(last, 2.84420).mean() > 10
    assert weighted_mean(last) > 2.5


def test_each_prompt_has_its_own_evidence():
    *_, last = DAS(8, 1.0, tempering=Geometric(0.2), threshold=1.1, resampling="systematic").align(problem_of(4000, prompts=("up", "down")))
    assert_unbiased(ratios(last, 2.84420)[0::2])
    assert_unbiased(last.readings["log_evidence"].exp()[1::2] / evidence_by_quadrature(-1))


def test_das_without_gradient_is_unbiased_too():
    method = DAS(16, 1.0, proposal="prior", tempering=Geometric(0.2), threshold=1.1, resampling="systematic")
    *_, last = method.align(problem_of(2000))
    assert_unbiased(ratios(last, 2.84420))


FEW = vp_scheduler(6, eta=1.0, last_alpha_bar=0.97)
CONSISTENCY = {
    "lcm": attrs.evolve(FEW, renoise=True),
    "tcd": attrs.evolve(FEW, steps=tuple(attrs.evolve(step, std=0.7 * step.s_next) for step in FEW.steps)),
}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("lcm", DAS(8, 1.0, tempering=Geometric(0.2), threshold=1.1, resampling="systematic")),
        ("tcd", DAS(8, 1.0, tempering=Geometric(0.2), threshold=1.1, resampling="systematic")),
        ("lcm", FK(8, 1.0, potential="diff", updates=Every(), resampling="multinomial")),
    ],
    ids=["das, lcm", "das, tcd", "fk, lcm"],
)
def test_samplers_of_few_steps_have_an_exact_evidence_too(name, method):
    scheduler = CONSISTENCY[name]
    *_, last = method.align(problem_of(2000, scheduler=scheduler))
    assert_unbiased(ratios(last, evidence_by_quadrature(1, scheduler=scheduler)))


def test_das_with_adaptive_tempering_is_close():
    *_, last = DAS(16, 1.0, tempering=Geometric(0.02), adaptive=0.9, resampling="systematic").align(problem_of(500))
    assert 1.9 < weighted_mean(last) < 2.2


@pytest.mark.parametrize(
    "method",
    [FK(16, 1.0, "diff", Every()), FK(16, 1.0, "diff", Every(), 0.5), FK(16, 1.0, "max", Every(), 0.5, initial=-2.0)],
    ids=["at every step", "adaptive", "max"],
)
def test_fk_that_keeps_its_weights_is_unbiased(method):
    *_, last = method.align(problem_of(2000))
    assert_unbiased(ratios(last, 2.84420))


def test_fk_without_its_weights_misses_the_target():
    *_, last = FK(16, 1.0, "diff", Every(), 0.5, weights="released").align(problem_of(500))
    assert last.readings["rewards"].mean() < 0.3


@pytest.mark.parametrize(("children", "mean"), [(1, 0.495), (4, 1.022), (64, 1.199)])
def test_svdd_tends_to_the_tilted_target(children, mean):
    samples = 8000 if children < 10 else 4000
    *_, last = SVDD(children, alpha=0.5).align(problem_of(samples, Bell()))
    assert last.scores.mean().item() == pytest.approx(mean, abs=0.03)
    assert last.scores.std().item() == pytest.approx(0.60, abs=0.03)


def test_argmax_maximises_instead_of_sampling_a_target():
    *_, last = SVDD(16, selection="argmax").align(problem_of(1000, Bell()))
    assert last.scores.mean().item() == pytest.approx(4.76, abs=0.1)
