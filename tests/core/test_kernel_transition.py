"""Transitions compared with torch's own distributions, and the Gaussian kernel compared with its closed forms."""

import math

import pytest
import torch
from hypothesis import assume

from tta_core import GaussianScheduler, GaussianTransition, State, Step
from tta_core.errors import IncompatibleError, InputError
from tta_core.testing import vp_scheduler
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import latents, noises, steps, tables, transitions
from tta_core.values.schedules import AllButLast, Constant, Steps
from tta_core.values.trajectory import History
from tta_core.values.transition import as_batch, log_snr_half, posterior_std


def independent(transition):
    normal = torch.distributions.Normal(transition.mean.double(), torch.tensor(transition.std, dtype=torch.float64))
    return torch.distributions.Independent(normal, 3)


@drawn(first=transitions(), second=transitions())
def test_kl_equals_torchs(first, second):
    expected = torch.distributions.kl_divergence(independent(first), independent(second))
    torch.testing.assert_close(first.kl(second).double(), expected, rtol=1e-4, atol=1e-3)


@drawn(first=transitions(), second=transitions())
def test_kl_is_at_least_zero_and_zero_at_equality(first, second):
    assert (first.kl(second) >= -1e-4).all()
    assert (first.kl(first).abs() <= 1e-4).all()
    assume(not torch.equal(first.mean, second.mean))
    same_width = GaussianTransition(second.mean, first.std)
    assert (first.kl(same_width) > 0).any()


@drawn(transition=transitions(), x=latents())
def test_log_prob_equals_torchs(transition, x):
    torch.testing.assert_close(transition.log_prob(x).double(), independent(transition).log_prob(x.double()), rtol=1e-4, atol=1e-2)


def test_densities_integrate_to_one():
    axis = torch.linspace(-9, 9, 2001)
    transition = GaussianTransition(torch.full((2001, 1, 1, 1), 0.3), 1.7)
    assert torch.trapezoid(transition.log_prob(axis.view(-1, 1, 1, 1)).exp(), axis).item() == pytest.approx(1, abs=1e-3)


def test_samples_have_the_mean_and_the_std():
    generator = torch.Generator().manual_seed(0)
    drawn_ones = GaussianTransition(torch.full((500, 4, 4, 4), 2.0), 0.5).sample(torch.randn(500, 4, 4, 4, generator=generator))
    assert drawn_ones.mean().item() == pytest.approx(2.0, abs=0.02)
    assert drawn_ones.std().item() == pytest.approx(0.5, abs=0.02)


@drawn(transition=transitions(), drawn_noises=noises(3))
def test_children_are_samples_k_major(transition, drawn_noises):
    children = transition.branch(drawn_noises)
    for i, noise in enumerate(drawn_noises):
        assert torch.equal(children[2 * i : 2 * i + 2], transition.sample(noise))
    assert torch.equal(transition.repeated(6).mean, transition.mean.repeat(3, 1, 1, 1))


def test_a_deterministic_transition_has_no_density():
    point = GaussianTransition(torch.zeros(1, 4, 4, 4), 0.0)
    for ask in (lambda: point.kl(point), lambda: point.log_prob(point.mean)):
        with pytest.raises(IncompatibleError, match=r"std 0.*eta > 0"):
            ask()
    assert torch.equal(point.sample(torch.ones(1, 4, 4, 4)), point.mean)


@drawn(step=steps())
def test_the_posterior_is_that_of_two_noisy_views(step):
    """Var(x' | x, x0) by conditioning of the jointly Gaussian x' and x, where x is x' with more noise."""
    std = posterior_std(step.a, step.s, step.a_next, step.s_next)
    assert 0 <= std <= step.s_next + 1e-12
    if step.a > 0 and step.s_next > 0:
        r = step.a / step.a_next
        added = step.s**2 - (r * step.s_next) ** 2  # x = r x' + noise of this variance
        conditional = 1 / (1 / step.s_next**2 + r**2 / added)
        assert std**2 == pytest.approx(conditional, rel=1e-6)


@drawn(scheduler=tables(), x=latents(), output=latents())
def test_eta_changes_only_the_noise_between_its_limits(scheduler, x, output):
    step = scheduler.steps[0]
    stds = [GaussianScheduler(scheduler.steps, scheduler.output, eta).predict(State(x), output, step).transition.std for eta in (0, 0.3, 1)]
    assert stds[0] == 0
    assert stds[1] == pytest.approx(0.3 * stds[2])


def test_eta_may_be_a_schedule():
    scheduler = vp_scheduler(4, AllButLast(), last_alpha_bar=0.99915)
    zeros = torch.zeros(1, 4, 4, 4)
    stds = [scheduler.predict(State(zeros), zeros, step).transition.std for step in scheduler.steps]
    assert all(std > 0 for std in stds[:-1])
    assert stds[-1] == 0


def test_the_known_kl_of_a_training_step():
    """With eta 1 and steps of one training step, the KL's coefficient of ||delta eps||^2 is beta^2 / (2 sigma^2 alpha (1 - abar))."""
    alphas = 1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    bars = alphas.cumprod(0)
    here, there, alpha = (value.item() for value in (bars[500], bars[499], alphas[500]))
    step = Step(0, 500.0, math.sqrt(here), math.sqrt(1 - here), math.sqrt(there), math.sqrt(1 - there))
    scheduler = GaussianScheduler((step,), "epsilon", 1.0)
    zeros = torch.zeros(1, 1, 1, 1)
    first, second = (scheduler.predict(State(zeros), output, step).transition for output in (zeros, torch.ones(1, 1, 1, 1)))
    variance = (1 - there) / (1 - here) * (1 - alpha)
    assert first.kl(second).item() == pytest.approx((1 - alpha) ** 2 / (2 * variance * alpha * (1 - here)), rel=1e-3)
    assert first.kl(second).item() == pytest.approx(0.003347, rel=1e-3)


@pytest.mark.parametrize(
    ("output", "a", "s", "message"),
    [
        ("epsilon", 0.0, 1.0, r"output 'epsilon' .* step 0 starts at a = 0\. .* x0 cannot be computed from the noise"),
        ("sample", 1.0, 0.0, r"step 0 starts at s = 0\. .* x is clean there"),
        ("flow", 1.0, 0.0, r"step 0 starts at s = 0\. .* x is clean there"),
    ],
)
def test_a_table_that_divides_by_zero_is_refused(output, a, s, message):
    with pytest.raises(IncompatibleError, match=message):
        GaussianScheduler((Step(0, 1.0, a, s, 1.0, 0.0),), output)


@pytest.mark.parametrize(
    ("eta", "message"), [(1.5, "eta is 1.5 at step 0"), (-0.1, "eta is -0.1"), (Steps((2,)) * Constant(3.0), "3 at step 2")]
)
def test_eta_is_between_0_and_1(eta, message):
    with pytest.raises(InputError, match=message):
        vp_scheduler(4, eta)


@pytest.mark.parametrize("output", ["v_prediction", "flow", "sample"])
def test_at_pure_noise_x0_comes_from_the_output_alone(output):
    step, zeros = Step(0, 1.0, 0.0, 1.0, 0.5, 0.5), torch.zeros(1, 4, 4, 4)
    x0 = GaussianScheduler((step,), output).predict(State(zeros), torch.ones(1, 4, 4, 4), step).x0
    assert x0.unique().item() == (1 if output == "sample" else -1)


@drawn(x=latents())
def test_renoise_does_not_depend_on_x(x):
    table = vp_scheduler(4).steps
    scheduler = GaussianScheduler(table, "sample", renoise=True)
    x0 = torch.ones(2, 4, 4, 4)
    transition = scheduler.predict(State(x), x0, table[0]).transition
    torch.testing.assert_close(transition.mean, table[0].a_next * x0)
    assert transition.std == table[0].s_next


def test_the_second_order_needs_a_history_and_a_next_level():
    scheduler = vp_scheduler(5, order=2)
    x, output = torch.ones(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    past = History(torch.zeros(1, 4, 4, 4), scheduler.steps[0].a, scheduler.steps[0].s)
    means = [scheduler.predict(State(x, history), output, scheduler.steps[1]).transition.mean for history in (None, past)]
    assert not torch.allclose(*means)
    last = scheduler.steps[-1]
    means = [scheduler.predict(State(x, history), output, last).transition.mean for history in (None, past)]
    assert torch.equal(*means)


def test_states_keep_their_history():
    history = History(torch.arange(2.0).view(2, 1, 1, 1).expand(2, 4, 4, 4), 0.5, 0.8)
    state = State(history.x0 + 10, history)
    picked = state[torch.tensor([1, 1, 0])]
    assert picked.x[:, 0, 0, 0].tolist() == [11, 11, 10]
    assert picked.history.x0[:, 0, 0, 0].tolist() == [1, 1, 0]
    assert state.repeated(4).history.x0[:, 0, 0, 0].tolist() == [0, 1, 0, 1]


def test_batches_are_repeated_k_major():
    x = torch.arange(2)
    assert as_batch(x, 2) is x
    assert as_batch(x, 6).tolist() == [0, 1, 0, 1, 0, 1]


def test_log_snr_at_the_ends():
    assert log_snr_half(0.0, 1.0) == -math.inf
    assert log_snr_half(1.0, 0.0) == math.inf
    assert log_snr_half(1.0, 1.0) == 0.0
