"""The suite of laws for schedulers: purity, Tweedie's formula, and transitions that keep the marginals."""

import math
from itertools import pairwise

import pytest
import torch

from tta_core.protocols.scheduler import Output, Scheduler
from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.one_gaussian import affine, sampled
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import latents, noises
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.typing import Latents


class SchedulerSuite:
    """Inherit, and override the fixture `scheduler`.

    Attributes:
        output: the quantity that the network predicts.
        stochastic: whether its transitions add noise (the last one, to clean latents, does not).
    """

    output: Output = "epsilon"
    stochastic: bool = False

    @pytest.fixture
    def scheduler(self) -> Scheduler:
        """The scheduler to test."""
        raise NotImplementedError("Override the fixture `scheduler`.")

    def test_the_table_leads_from_noise_to_an_image(self, scheduler: Scheduler) -> None:
        """Indices count from 0; each step begins where the previous one ended; s falls, a does not; x_T has the std of the first step."""
        steps = scheduler.steps
        assert [step.index for step in steps] == list(range(len(steps))), "indices do not count from 0"
        for step, then in pairwise(steps):
            assert (step.a_next, step.s_next) == (then.a, then.s), f"step {then.index} does not begin where step {step.index} ended"
        assert all(step.s_next < step.s and step.a_next >= step.a for step in steps), "the noise level rises between two steps"
        first = steps[0]
        widths = (first.s, math.hypot(first.a, first.s))
        assert min(widths) - 1e-3 <= scheduler.initial_std <= max(widths) + 1e-3, f"x_T has std {scheduler.initial_std}, not {widths}"

    @drawn(x=latents(), output=latents(), other=latents())
    def test_calling_twice_gives_the_same(self, scheduler: Scheduler, x: Latents, output: Latents, other: Latents) -> None:
        """A prediction depends on its arguments alone, not on earlier calls at this step or another, and it does not change them."""
        before = (x.clone(), output.clone())
        for step in _some(scheduler):
            first = scheduler.predict(State(x), output, step)
            kept = _numbers(first)
            for elsewhere in _some(scheduler):
                scheduler.predict(State(other), other, elsewhere)
            again = _numbers(scheduler.predict(State(x), output, step))
            assert all(map(torch.equal, kept, again)), f"a second call at step {step.index} gives another result"
            assert all(map(torch.equal, kept, _numbers(first))), f"an earlier result at step {step.index} changed"
        assert torch.equal(x, before[0]), "the prediction changed x"
        assert torch.equal(output, before[1]), "the prediction changed the output"

    @drawn(x=latents(), output=latents())
    def test_x_is_made_of_x0_and_eps(self, scheduler: Scheduler, x: Latents, output: Latents) -> None:
        """x = a x0 + s eps, for any output."""
        for step in _some(scheduler):
            prediction = scheduler.predict(State(x), output, step)
            again = step.a * prediction.x0 + step.s * prediction.eps
            scale = 1 + x.abs().max() + step.s * output.abs().max()
            assert (again - x).abs().max() <= 1e-5 * scale, f"a x0 + s eps is not x at step {step.index}"

    @drawn(noise=latents())
    def test_tweedie_is_the_posterior_mean(self, scheduler: Scheduler, noise: Latents) -> None:
        """From the exact output of a Gaussian mixture, x0 is E[x0 | x], to 1e-5 of x's scale."""
        mixture, embedding = _mixture(self.output)
        for step in _some(scheduler):
            x = math.hypot(step.a, step.s) * noise
            prediction = scheduler.predict(State(x), mixture.predict(x, step, embedding), step).x0
            exact = mixture.posterior_mean(x, step, embedding)
            error = (prediction - exact).abs().max().item()
            # x0 = (x - s eps) / a magnifies float32's rounding of x and eps by 1 / a.
            assert error <= 1e-5 * (1 + x.abs().max().item() / max(step.a, 0.05)), f"off by {error:.2g} at step {step.index}"

    @drawn(x0=latents(), eps=latents())
    def test_transitions_keep_the_marginals(self, scheduler: Scheduler, x0: Latents, eps: Latents) -> None:
        """Given the true x0, the next x is a' x0 + k eps + std z with k^2 + std^2 = s'^2."""
        for step in _some(scheduler):
            x = step.a * x0 + step.s * eps
            transition = scheduler.predict(State(x), _exact_output(self.output, x0, eps, step), step).transition
            assert 0 <= transition.std <= step.s_next * (1 + 1e-6), f"std {transition.std} is not within [0, s'] at step {step.index}"
            k = math.sqrt(max(0.0, step.s_next**2 - transition.std**2))
            error = (transition.mean - step.a_next * x0 - k * eps).abs().max()
            scale = 1 + max(x.abs().max().item() / max(step.a, 0.05), step.s)
            assert error <= 2e-5 * scale, f"the marginal of the next x is off by {error:.2g} at step {step.index}"

    def test_stochastic_is_declared_correctly(self, scheduler: Scheduler) -> None:
        """Transitions add noise at every step but the last exactly if the suite declares it, and none if the next x is clean."""
        for step in scheduler.steps:
            std = scheduler.predict(State(torch.zeros(1, 4, 4, 4)), torch.zeros(1, 4, 4, 4), step).transition.std
            if step.s_next == 0:
                assert std == 0, f"std {std} at the step to clean latents"
            elif step.index + 1 < len(scheduler.steps):
                assert (std > 0) == self.stochastic, f"std is {std} at step {step.index}"

    @drawn(x=latents(), output=latents())
    def test_clean_latents_are_the_estimate(self, scheduler: Scheduler, x: Latents, output: Latents) -> None:
        """A step to s' = 0 ends exactly at a' x0."""
        step = scheduler.steps[-1]
        prediction = scheduler.predict(State(x), output, step)
        if step.s_next == 0:
            torch.testing.assert_close(
                prediction.transition.mean, step.a_next * prediction.x0, msg="the last step does not end at its own x0"
            )

    @drawn(x=latents(3), output=latents(3))
    def test_rows_do_not_mix(self, scheduler: Scheduler, x: Latents, output: Latents) -> None:
        """The predictions of each row of a batch equal those of the row alone."""
        for step in _some(scheduler):
            together = _numbers(scheduler.predict(State(x), output, step))
            for row in range(3):
                alone = _numbers(scheduler.predict(State(x[row : row + 1]), output[row : row + 1], step))
                assert all(torch.allclose(a[row], b[0], rtol=1e-5, atol=1e-6) for a, b in zip(together, alone, strict=True)), "rows mix"

    @drawn(x=latents(), output=latents(), drawn_noises=noises())
    def test_children_carry_their_history(self, scheduler: Scheduler, x: Latents, output: Latents, drawn_noises: torch.Tensor) -> None:
        """Branching gives rows (k b), k-major; child i is the sample with noise i and has its solver history."""
        prediction = scheduler.predict(State(x), output, scheduler.steps[0])
        children = prediction.branch(drawn_noises)
        for i, noise in enumerate(drawn_noises):
            child, rows = prediction.sample(noise), slice(2 * i, 2 * i + 2)
            assert torch.equal(children.x[rows], child.x), f"child {i} is not the sample with its noise"
            assert children.history is not None, "children have no history"
            assert child.history is not None, "a sample has no history"
            assert torch.equal(children.history.x0[rows], child.history.x0), f"child {i} has the wrong history"

    @drawn(x=latents(), output=latents())
    def test_gradients_pass(self, scheduler: Scheduler, x: Latents, output: Latents) -> None:
        """x0 is differentiable in the output, with the slope that follows from the table."""
        for step in _some(scheduler):
            leaf = output.clone().requires_grad_()
            prediction = scheduler.predict(State(x), leaf, step)
            assert prediction.x0.requires_grad, "x0 does not depend on the output"
            (slope,) = torch.autograd.grad(prediction.x0.sum(), leaf)
            size = math.hypot(step.a, step.s)
            expected = {"epsilon": -step.s / max(step.a, 1e-30), "v_prediction": -step.s / size, "flow": -step.s, "sample": 1.0}[
                self.output
            ]
            assert torch.allclose(slope, torch.full_like(slope, expected), rtol=1e-4), f"slope {slope.mean():.4g} is not {expected:.4g}"

    def test_one_gaussian_is_sampled_as_its_table_says(self, scheduler: Scheduler) -> None:
        """On N(mu, 0.7^2) the chain is affine: its final mean and std are those computed from the table, and near the true ones."""
        mixture, embedding = _mixture(self.output, components=1)
        centre, width = affine(scheduler, mixture.sigma)
        mean, std = sampled(scheduler, mixture, embedding)
        mu = mixture.posterior_mean(torch.zeros(1, 4, 4, 4), Step(0, 0.0, 0.0, 1.0, 1.0, 0.0), embedding)
        off = (mean - centre * mu).abs().mean().item()
        assert abs(std - width) <= 0.01, f"the samples have std {std:.4f}, the table gives {width:.4f}"
        assert off <= 0.04, f"the samples' mean is {off:.3f} from {centre:.3f} mu, which the table gives"
        assert abs(centre - 1) < 0.2, f"the table ends at {centre:.3f} mu"
        assert 0.4 < width / mixture.sigma < 1.2, f"the table ends with std {width:.3f} instead of {mixture.sigma}"


def _some(scheduler: Scheduler) -> list[Step]:
    """The first, the middle and the last step."""
    steps = scheduler.steps
    return [steps[i] for i in sorted({0, len(steps) // 2, len(steps) - 1})]


def _numbers(prediction: Prediction) -> tuple[torch.Tensor, ...]:
    return (
        prediction.x0.clone(),
        prediction.eps.clone(),
        prediction.transition.mean.clone(),
        prediction.x0.new_full((3,), prediction.transition.std),
    )


def _mixture(output: Output, components: int = 4) -> tuple[GaussianMixture, Embedding]:
    mixture = GaussianMixture(components, sigma=0.7, output=output)
    return mixture, mixture.encode(["a red circle", "a blue square"][: 1 if components == 1 else 2], 8, 8)


def _exact_output(output: Output, x0: Latents, eps: Latents, step: Step) -> Latents:
    """The exact output of a network for this x0 and eps."""
    size = math.hypot(step.a, step.s)
    return {"epsilon": eps, "v_prediction": (step.a * eps - step.s * x0) / size, "flow": eps - x0, "sample": x0}[output]
