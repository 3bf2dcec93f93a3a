"""Properties of guidance on x in addition to the laws of every method, on distributions for which the answers are known."""

import math

import pytest
import torch

from tta_core.protocols.reward import Card
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness, plain, problem_for, solved
from tta_core.testing.tables import flow_scheduler
from tta_core.values.noise import keyed_normal
from tta_core.values.schedules import Steps
from tta_core.values.trajectory import State
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.dps import DPS
from tta_plugins.methods.freedom import FreeDoM
from tta_plugins.methods.guidance import LookAhead, of_x0
from tta_plugins.methods.lgd import LGD
from tta_plugins.methods.mpgd import MPGD
from tta_plugins.methods.strength import Damped, OfSignal
from tta_plugins.methods.tfg import TFG
from tta_plugins.methods.universal_guidance import UniversalGuidance

PALETTE = 0.12**2  # the decoder of the mixture is an isometry times 0.12


@frozen
class Linear:
    """<w, image> for one fixed w. It is linear in the latents, because the decoder is linear."""

    card = Card(differentiable=True)

    def __call__(self, images, prompts):
        return (images * keyed_normal(("linear",), images.shape[1:]).to(images)).flatten(1).sum(1)


@frozen
class Quadratic:
    """-||x0 - target||^2 in latents."""

    target: float = 0.7
    card = Card(differentiable=True)

    def __call__(self, images, prompts):
        wanted = GaussianMixture().decode(torch.full((1, 4, images.shape[2] // 2, images.shape[3] // 2), self.target))
        return -(images - wanted).square().flatten(1).sum(1) / PALETTE


def components(problem, x):
    return tuple(part.double() for part in problem.backbone._mixture(x, problem.controls.text))


def test_forward_guidance_is_the_posterior_covariance_times_the_rewards_slope():
    """(s^2 / a) d<v, E[x0 | x]> / dx = Cov[x0 | x] v, for a mixture, at every noise level."""
    problem = problem_for(UniversalGuidance(clamp=False), reward=Linear(), guidance=1.0)
    sigma = problem.backbone.sigma
    for step in problem.steps:
        x = step.a * keyed_normal(("x", step.index), (2, 4, 4, 4)) + step.s * keyed_normal(("noise", step.index), (2, 4, 4, 4))
        leaf = x.clone().requires_grad_()
        objective = LookAhead(problem, problem.at(State(x), step), of_x0(problem, False))
        (gradient,) = problem.gradient(objective((leaf,)).total, (leaf,))
        y = torch.zeros_like(x, requires_grad=True)
        (v,) = problem.gradient(of_x0(problem, False)((y,)).total, (y,))
        means, logits = components(problem, x)
        variance = (step.a * sigma) ** 2 + step.s**2
        residual = x.double()[:, None] - step.a * means
        weights = torch.softmax(logits - residual.square().flatten(2).sum(2) / (2 * variance), 1)[:, :, None]
        each = (means + step.a * sigma**2 / variance * residual).flatten(2)
        mean = (weights * each).sum(1)
        slope = v.double().flatten(1)
        along = ((each - mean[:, None]) * slope[:, None]).sum(2, keepdim=True)
        covariance = (sigma * step.s) ** 2 / variance * slope + (weights * along * (each - mean[:, None])).sum(1)
        shift = step.s**2 / step.a * gradient.double().flatten(1)
        torch.testing.assert_close(shift, covariance, rtol=1e-3, atol=1e-3 * covariance.abs().max().item())


def tilted(problem, weight, target, sigma):
    """The chain of the exact clean estimates of p(x0) exp(-weight ||x0 - target||^2), with the same noises."""
    state = problem.start(problem.controls)
    for step in problem.steps:
        means, _ = components(problem, state.x)
        precision = 1 / sigma**2 + 2 * weight + step.a**2 / step.s**2
        x0 = (means[:, 0] / sigma**2 + 2 * weight * target + step.a / step.s**2 * state.x.double()) / precision
        state = problem.scheduler.believe(state, x0.float(), step).sample(problem.controls.noise[step.index + 1])
    return state.x


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_damped_strength_is_exact_on_gaussian_data(eta):
    sigma, weight = 0.5, 3.0
    backbone = GaussianMixture(components=1, sigma=sigma)
    method = UniversalGuidance(Damped(weight, sigma**2), clamp=False)
    problem = problem_for(method, backbone=backbone, reward=Quadratic(), guidance=1.0, scheduler=vp_scheduler(6, eta))
    exact = tilted(problem, weight, 0.7, sigma)
    torch.testing.assert_close(solved(method, problem).x0, exact, atol=1e-3, rtol=0)
    undamped = solved(evolve(method, strength=weight), problem).x0
    assert (undamped - exact).abs().max() > 0.1, "the law does not see the damping"


COUNTS = [
    (UniversalGuidance(5.0, repetitions=3), 3, 3, 3, 3),
    (UniversalGuidance(5.0, backward_steps=2), 1, 1, 3, 3),
    (FreeDoM(5.0, repetitions=2), 2, 2, 2, 2),
    (DPS(0.1), 1, 1, 1, 1),
    (LGD(5.0, samples=3), 1, 1, 3, 3),
    (MPGD(5.0), 1, 0, 1, 1),
    (TFG(1.0, 1.0, samples=2, iterations=2), 1, 1, 6, 6),
    (TFG(0.0, 1.0, samples=2, iterations=2), 1, 0, 4, 4),
]


@pytest.mark.parametrize(("method", "forward", "backward", "decodes", "decodes_backward"), COUNTS, ids=lambda value: repr(value)[:24])
def test_evaluations_agree_with_the_docstring(method, forward, backward, decodes, decodes_backward):
    """Rows per step and sample: of each guidance branch, of the look-ahead and of the reward. The result is decoded once."""
    problem = problem_for(method, steps=4)
    solved(method, problem)
    each, counts = 4 * 2, problem.ledger.counts
    for branch in ("text", "null"):
        assert (counts[branch], counts[f"{branch}.backward"]) == (forward * each, backward * each), counts
    assert (counts["look-ahead"], counts["look-ahead.backward"]) == (decodes * each, decodes_backward * each), counts
    assert (counts["reward"], counts["decode"]) == (decodes * each + 2, 2), counts


class Asked:
    """Records each request, and passes it on."""

    def __init__(self, noises):
        self.noises, self.keys = noises, []

    def __call__(self, row, child):
        self.keys.append(("row", row, child))
        return self.noises(row, child)

    def like(self, tensor, *key):
        self.keys.append(("like", *key))
        return self.noises.like(tensor, *key)

    def permutations(self, count, length, *key):
        return self.noises.permutations(count, length, *key)


def test_noises_are_requested_in_the_documented_order():
    method = TFG(1.0, 1.0, samples=2, iterations=1, repetitions=2)
    problem = problem_for(method, steps=1)
    asked = Asked(problem.noises)
    solved(method, evolve(problem, noises=asked))
    expected = [("like", 0, 0, 1, 0), ("like", 0, 0, 1, 1), ("like", 0, 0), ("like", 0, 1, 1, 0), ("like", 0, 1, 1, 1), ("row", 1, 1)]
    assert asked.keys == expected


GUIDED = [
    UniversalGuidance(5.0),
    UniversalGuidance(5.0, backward_steps=1, repetitions=2),
    FreeDoM(5.0, repetitions=2),
    DPS(0.1),
    LGD(5.0),
    MPGD(5.0),
    TFG(),
]


@pytest.mark.parametrize("method", GUIDED, ids=lambda method: repr(method)[:24])
def test_flow_models_start_from_noise_alone(method):
    """At a = 0 nothing is divided by a, and the later steps are guided."""
    backbone, scheduler = GaussianMixture(output="flow"), flow_scheduler(4)
    assert scheduler.steps[0].a == 0
    problem = problem_for(method, backbone=backbone, scheduler=scheduler)
    last = solved(method, problem)
    assert torch.isfinite(last.x0).all()
    assert (last.x0 - plain(problem).x0).abs().max() > 1e-4


@pytest.mark.parametrize("order", [1, 2])
def test_guidance_is_the_samplers_own_step_from_the_guided_noise(order):
    """Compared with a loop that gives the scheduler the guided epsilon: with a second-order solver, its history is the guided estimate."""
    method = UniversalGuidance(20.0, clamp=False)
    problem = problem_for(method, scheduler=vp_scheduler(5, order=order))
    state = problem.start(problem.controls)
    for step in problem.steps:
        leaf = state.x.clone().requires_grad_()
        objective = LookAhead(problem, problem.at(state, step), of_x0(problem, False))
        (gradient,) = problem.gradient(objective((leaf,)).total, (leaf,))
        eps = objective.prediction.eps - 20.0 * step.s * gradient
        state = problem.scheduler.predict(state, eps, step).sample(problem.controls.noise[step.index + 1])
    torch.testing.assert_close(solved(method, problem).x0, state.x, atol=1e-4, rtol=1e-4)


def test_tfg_contains_its_predecessors():
    """If the noise is kept and there is one step at the clean estimate, it is MPGD. With rho alone it is FreeDoM, whose rho is (a'/a) times
    TFG's."""
    problem = problem_for(TFG(), scheduler=vp_scheduler(4, 1.0))
    inner = TFG(0.0, 5.0, sigma=0.0, iterations=1)
    torch.testing.assert_close(solved(inner, problem).x0, solved(MPGD(5.0), problem).x0, atol=1e-4, rtol=1e-4)

    @frozen
    class Ratio:
        def at(self, step, steps):
            return 5.0 * step.a_next / step.a

    outer = TFG(5.0, 0.0, sigma=0.0)
    torch.testing.assert_close(solved(outer, problem).x0, solved(FreeDoM(Ratio()), problem).x0, atol=1e-4, rtol=1e-4)


def test_backward_guidance_raises_the_reward_of_the_estimate():
    method = UniversalGuidance(0.0, backward_steps=3, clamp=False)
    problem = problem_for(method)
    y = keyed_normal(("y",), (2, 4, 4, 4))
    after = method.backward(problem, y, (0, 0))
    assert (Likeness()(problem.backbone.decode(after), problem.prompts) > Likeness()(problem.backbone.decode(y), problem.prompts)).all()


def test_time_travel_without_strength_keeps_the_distribution():
    """A repeated step is another sample of the same Gaussian: the mean square around the mean is equal, within the error of 128 samples of
    64 numbers."""
    method = FreeDoM(0.0, repetitions=2)
    backbone = GaussianMixture(components=1)
    problem = problem_for(
        method, backbone=backbone, guidance=1.0, prompts=["a red circle"] * 128, seed=range(128), scheduler=vp_scheduler(8, 1.0)
    )
    again, once = solved(method, problem).x0, plain(problem).x0
    assert (again - once).abs().max() > 0.1
    spread = [(x - x.mean(0)).square().mean().sqrt().item() for x in (again, once)]
    assert math.isclose(*spread, rel_tol=0.06), spread


@pytest.mark.parametrize("relative", ["no", "noise"])
def test_the_length_of_freedoms_step_follows_its_rule(relative):
    """x' - step(x) is rho sqrt(abar) g with the rule for faces by maps, and rho c1 sqrt((1 - abar) / abar) rms(e) / rms(g) g with the rule
    for faces by CLIP."""
    method = FreeDoM(OfSignal(30.0) if relative == "no" else 0.02, relative, updates=Steps((1,)))
    problem = problem_for(method, steps=4)
    snapshots = list(method.align(problem))
    step, x = problem.steps[1], problem.start(problem.controls)
    with torch.no_grad():
        x = problem.at(x, problem.steps[0]).predict(problem.controls).sample(problem.controls.noise[1])
        prediction = problem.at(x, step).predict(problem.controls)
    (gradient,) = snapshots[1].gradient
    here, after = step.a**2, step.a_next**2
    share = math.sqrt(after) * (1 - here / after) / (1 - here)
    sizes = [value.square().flatten(1).mean(1).sqrt().view(-1, 1, 1, 1) for value in (prediction.eps, gradient)]
    rho = {"no": 30.0 * math.sqrt(here), "noise": 0.02 * share * math.sqrt((1 - here) / here) * sizes[0] / sizes[1]}[relative]
    moved = evolve(prediction, transition=prediction.transition.shifted(rho * gradient)).sample(problem.controls.noise[2])
    with torch.no_grad():
        expected = problem.at(moved, problem.steps[2]).predict(problem.controls).x0
    torch.testing.assert_close(snapshots[2].x0, expected, atol=1e-5, rtol=1e-5)
    plain_x0 = problem.at(prediction.sample(problem.controls.noise[2]), problem.steps[2]).predict(problem.controls).x0
    assert (plain_x0 - expected).abs().max() > 1e-3
