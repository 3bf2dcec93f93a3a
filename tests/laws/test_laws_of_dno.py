"""Laws that DNO and its regulariser keep in addition to those of every method, each with a class that keeps it and one that breaks it."""

import math

import pytest
import torch

from tta_core.errors import InputError
from tta_core.solving.steering import AdamW, leaves
from tta_core.testing import GaussianMixture, ve_scheduler, vp_scheduler
from tta_core.testing.problems import problem_for, solved
from tta_core.values.noise import KeyedNoise
from tta_core.values.typing import evolve
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.probability_regulariser import probability_regulariser

LEAST = 4 * math.log(2)
ROWS, LENGTH = 4, 1024


def regularised(reg, value):
    """Reg of rows of 1024 numbers, with 5 permutations."""
    source = KeyedNoise((0,) * ROWS, tuple(range(ROWS)), (4, 4, 4), torch.device("cpu"))
    return reg(value, source.permutations(5, LENGTH, 0))


def white(seed=0):
    return torch.randn(ROWS, LENGTH, generator=torch.Generator().manual_seed(seed))


def law_reg_is_at_least_four_log_two(reg):
    """Reg >= 4 log 2 for any noise, and >= 2 log 2 without permutations."""
    for scale in (0.0, 0.1, 1.0, 3.0):
        assert (regularised(reg, scale * white()) >= LEAST * (1 - 1e-5)).all()
        assert (reg(scale * white(), None) >= LEAST / 2 * (1 - 1e-5)).all()


def law_white_noise_is_typical(reg):
    """For white noise Reg is within 3 nats of its smallest possible value, and in most cases within 0.2."""
    values = torch.cat([regularised(reg, white(seed)) for seed in range(5)])
    assert (values < LEAST + 3).all(), values
    assert values.median() < LEAST + 0.2, values


def law_shifted_noise_is_improbable(reg):
    """Noise shifted by 0.5 has a much larger Reg than any white noise."""
    assert (regularised(reg, white() + 0.5) > LEAST + 20).all()


def law_scaled_noise_is_improbable(reg):
    """Noise scaled by 1.5 or by 0.3 has a much larger Reg than white noise."""
    for scale in (1.5, 0.3):
        assert (regularised(reg, scale * white()) > LEAST + 5).all(), scale


def law_correlated_noise_is_improbable(reg):
    """Noise with pairs of equal neighbours has the right mean and variance; the covariance term of Reg detects it."""
    paired = white()[:, : LENGTH // 2].repeat_interleave(2, dim=1)
    assert (regularised(reg, paired) > LEAST + 5).all()


def law_permutations_detect_neighbours_that_cancel(reg):
    """If neighbours cancel (v, -v), the vectors cut in order have mean 0. After a permutation, Reg detects that the noise is too large."""
    value = 1.5 * torch.stack([white()[:, ::2], -white()[:, ::2]], dim=2).flatten(1)
    assert (regularised(reg, value) - reg(value, None) > LEAST / 2 + 1).all()


def law_a_gradient_step_makes_noise_more_typical(reg):
    """A step against Reg's gradient makes the mean of shifted noise smaller."""
    value = (white() + 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(regularised(reg, value).sum(), value)
    assert torch.isfinite(gradient).all()
    assert (gradient.mean(1) > 0).all()


def shiftless(value, permutations):
    """Reg without the mean."""
    return probability_regulariser(value - value.mean(1, keepdim=True), permutations)


def unclamped(value, permutations):
    """Reg without the -log 2 of its bounds."""
    return probability_regulariser(value, permutations) - 1


def mean_only(value, permutations):
    """Reg with the mean alone."""
    rows = value.mean(1, keepdim=True).expand(-1, LENGTH) + white()
    return probability_regulariser(rows, permutations)


def backwards(value, permutations):
    return LEAST - probability_regulariser(value, permutations)


REG_LAWS = [
    (law_reg_is_at_least_four_log_two, unclamped),
    (law_white_noise_is_typical, lambda value, permutations: probability_regulariser(value + 0.3, permutations)),
    (law_shifted_noise_is_improbable, shiftless),
    (law_scaled_noise_is_improbable, mean_only),
    (law_correlated_noise_is_improbable, mean_only),
    (law_permutations_detect_neighbours_that_cancel, lambda value, permutations: probability_regulariser(value)),
    (law_a_gradient_step_makes_noise_more_typical, backwards),
]


@pytest.mark.parametrize(("law", "_broken"), REG_LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_regulariser_obeys(law, _broken):
    law(probability_regulariser)


@pytest.mark.parametrize(("law", "broken"), REG_LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_regulariser_law_catches(law, broken):
    with pytest.raises(AssertionError):
        law(broken)


def test_a_length_that_k_does_not_divide_is_refused():
    with pytest.raises(InputError, match="subsample"):
        probability_regulariser(torch.zeros(1, 10))


def moved(method, **options):
    """Which of the 6 rows of noise (x_T, then one for each step) a run changed in both samples. The other rows must be equal bit for
    bit."""
    problem = problem_for(method, **options)
    *_, last = (snapshot for snapshot in method.align(problem) if snapshot.gradient)
    before, after = problem.controls.noise, last.controls.noise
    rows = [(before[row] != after[row]).flatten(1).any(1).tolist() for row in range(6)]
    assert all(row in ([True] * 2, [False] * 2) for row in rows), rows
    return [row[0] for row in rows]


def law_only_the_last_noises_change(method):
    """With opt_steps = 2 of 5 steps, the noises of the last 3 steps change. x_T and the earlier noises are equal bit for bit."""
    assert moved(method, scheduler=vp_scheduler(5, 1.0, last_alpha_bar=0.999)) == [False] * 3 + [True] * 3


def law_only_the_last_steps_are_differentiated(method):
    """With opt_steps = 2 of 5 steps, each branch has 3 evaluations before the first steered noise, made once, and 2 after it in each
    iteration."""
    problem = problem_for(method)
    list(method.align(problem))
    counts = {name: problem.ledger.counts[name] / 2 for name in ("text", "text.backward", "null", "null.backward")}
    assert counts == {"text": 3 + 2 * 4, "text.backward": 2 * 3, "null": 3 + 2 * 4, "null.backward": 2 * 3}


@pytest.mark.parametrize(("opt_steps", "first"), [(None, 0), (7, 0), (5, 0), (4, 1), (1, 4)])
def test_more_last_steps_than_there_are_is_all_of_them(opt_steps, first):
    """All 6 rows of noise are steered; the last one has no effect, since the last step adds no noise."""
    method = DNO(1, regularisation=0.0, opt_steps=opt_steps)
    problem = problem_for(method)
    value = leaves(method.variable.read(problem.controls))
    (gradient,) = torch.autograd.grad(method.objective(problem, method.chain(problem), 0, value).total.sum(), value)
    assert (gradient.flatten(2).abs().sum((0, 2)) > 0).tolist() == [True] * (5 - first) + [False]


SAMPLERS = {
    "VP": (GaussianMixture(), vp_scheduler(5, 1.0)),
    "VE": (GaussianMixture(), ve_scheduler(5, 1.0)),
    "second order": (GaussianMixture(), vp_scheduler(5, 1.0, order=2)),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("segment", [None, 1, 2])
@pytest.mark.parametrize("from_image", [False, True])
def test_the_last_steps_are_the_whole_chains(sampler, segment, from_image):
    """The scores, and the gradients of the steered rows, equal those of the whole chain, for solvers with a history and for chains in
    segments."""
    backbone, scheduler = sampler
    part, whole = DNO(1, regularisation=0.0, opt_steps=2), DNO(1, regularisation=0.0)
    problem = evolve(problem_for(whole, backbone=backbone, scheduler=scheduler), segment=segment)
    if from_image:
        problem = evolve(problem, origin=torch.full_like(problem.controls.noise[0], 0.5))
    seen = []
    for method in (part, whole):
        value = leaves(method.variable.read(problem.controls))
        total = method.objective(problem, method.chain(problem), 0, value).total
        seen.append((total.detach(), torch.autograd.grad(total.sum(), value)[0]))
    assert torch.equal(seen[0][0], seen[1][0])
    torch.testing.assert_close(seen[0][1], seen[1][1][:, 3:])


def test_no_last_steps_are_refused():
    with pytest.raises(InputError, match=r"opt_steps is 0.*of at least 1"):
        DNO(opt_steps=0)


def law_with_eta_0_only_x_t_is_steered(method):
    """With eta = 0 the noises of the steps have no effect and are not changed."""
    assert moved(method) == [True] + [False] * 5


def law_the_kept_score_never_falls(method):
    """The reward of each snapshot's x0, which is the best so far, never falls for any sample."""
    problem = problem_for(method)
    scores = torch.stack([problem.look(snapshot.x0).scores for snapshot in method.align(problem)])
    assert (scores.diff(dim=0) >= -1e-5 * (1 + scores.abs().max())).all(), scores


def law_gradients_are_clipped_per_sample(method):
    """No sample's gradient is longer than 0.001, whatever the gradients of the other samples are."""
    for snapshot in method.align(problem_for(method)):
        for gradient in snapshot.gradient:
            assert (gradient.flatten(1).norm(dim=1) <= 0.001 * (1 + 1e-4)).all()


def law_it_stops_when_every_sample_is_good_enough(method):
    """`stop_at` ends the run before all iterations are made."""
    assert len(list(method.align(problem_for(method)))) < method.iterations


class Latest(DNO):
    """Returns the latest iterate instead of the best one."""

    def align(self, problem):
        for snapshot in super().align(problem):
            if snapshot.gradient:
                with torch.no_grad():
                    yield problem.result(self.iterations, snapshot.controls, problem.sample(snapshot.controls))


BOLD = AdamW(lr=0.5)
RELEASED = evolve(DNO.released(), iterations=3, shuffles=2)
LAWS = [
    (law_only_the_last_noises_change, DNO(3, shuffles=2, opt_steps=2), DNO(3, shuffles=2)),
    (law_only_the_last_noises_change, evolve(RELEASED, opt_steps=2), RELEASED),
    (law_only_the_last_steps_are_differentiated, DNO(3, shuffles=2, opt_steps=2), DNO(3, shuffles=2)),
    (law_with_eta_0_only_x_t_is_steered, DNO(3, shuffles=2, eta=0.0), DNO(3, shuffles=2)),
    (law_with_eta_0_only_x_t_is_steered, evolve(RELEASED, eta=0.0), RELEASED),
    (law_the_kept_score_never_falls, DNO(6, shuffles=2, optimizer=BOLD), Latest(12, shuffles=2, optimizer=AdamW(lr=3.0))),
    (law_gradients_are_clipped_per_sample, DNO(2, shuffles=2, clip=0.001), DNO(2, shuffles=2, clip=1000.0)),
    (law_it_stops_when_every_sample_is_good_enough, DNO(6, shuffles=2, stop_at=-10.0), DNO(2, shuffles=2, stop_at=10.0)),
]


@pytest.mark.parametrize(("law", "method", "_broken"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_dno_obeys(law, method, _broken):
    law(method)


@pytest.mark.parametrize(("law", "_method", "broken"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_law_catches(law, _method, broken):
    with pytest.raises(AssertionError):
        law(broken)


def test_more_iterations_score_higher():
    """On the mixture the reward rises with the number of iterations, as in the paper's figures."""
    scores = [solved(method, problem_for(method)).scores.mean() for method in (DNO(0), DNO(5, shuffles=2), DNO(20, shuffles=2))]
    assert scores[0] < scores[1] < scores[2]
