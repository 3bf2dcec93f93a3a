"""Laws that Null-TTA keeps in addition to those of every method, each with a class that keeps it and one that breaks it."""

import math

import attrs
import pytest
import torch
from diffusers import DDIMScheduler
from typer.testing import CliRunner

from tta_core import NullEmbedding, TextEmbedding
from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.memory import Setup
from tta_core.solving.from_image import last_steps
from tta_core.solving.steering import Adam
from tta_core.testing import GaussianMixture, flow_scheduler, ve_scheduler, vp_scheduler
from tta_core.testing.problems import Likeness, problem_for, solved
from tta_core.values.schedules import AllButLast, Every, GeometricDecay, Steps
from tta_plugins.cli.app import app
from tta_plugins.memory.update_schedule import UpdateFraction, UpdateWindow
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.methods.sequential import Sequential
from tta_plugins.schedulers.native import native

SMALL = {"inner_min": 2, "inner_max": 2}


def evaluated(method, shift=0.0, scheduler=None, guidance=None):
    """The objective at phi + shift, at a step where the penalties have not decayed and the transition adds noise."""
    problem = problem_for(method, scheduler=scheduler or vp_scheduler(5, 1.0), guidance=guidance)
    here = problem.at(problem.start(problem.controls), problem.steps[0])
    reference = here.predict(problem.controls)
    value = tuple(tensor + shift for tensor in NullEmbedding().read(problem.controls))
    return (
        problem,
        reference,
        here.predict(NullEmbedding().write(problem.controls, value)),
        method.objective(problem, here, reference, value),
    )


def law_without_reward_phi_does_not_change(method):
    """With reward_weight 0, the penalties alone leave phi' equal to phi, bit for bit."""
    problem = problem_for(method)
    for snapshot in method.align(problem):
        assert torch.equal(snapshot.controls.null.tokens, problem.controls.null.tokens)


def law_penalties_are_zero_at_phi_and_positive_elsewhere(method):
    """Divergence and prior are 0 at phi, positive away from it, and grow with the distance."""
    for name in ("divergence", "prior"):
        at, near, far = (evaluated(method, shift)[-1].penalties[name] for shift in (0.0, 0.1, 0.3))
        assert (at == 0).all(), (name, at)
        assert (near > 0).all(), (name, near)
        assert (far > near).all(), (name, near, far)


def law_the_prior_is_that_of_the_paper(method):
    """The prior is l2 / (2 sigma^2) ||phi' - phi||^2: for a shift of 0.1 in 3 x 8 numbers it is l2 / (2 sigma^2) * 0.24."""
    expected = method.penalty_weight / (2 * method.variance) * 24 * 0.1**2
    torch.testing.assert_close(evaluated(method, 0.1)[-1].penalties["prior"], torch.full((2,), expected), rtol=1e-4, atol=0)


def law_the_pooled_vector_has_its_own_prior(method):
    """If the tokens (3 x 8) change by 0.1 and the pooled vector (5 numbers) by 0.2, the prior is l2 (0.24 / (2 0.02) + 0.2 / (2 0.5)) =
    0.002 * 6.2."""
    problem = problem_for(method, backbone=GaussianMixture(pooled=True), scheduler=vp_scheduler(5, 1.0))
    here = problem.at(problem.start(problem.controls), problem.steps[0])
    tokens, pooled = method.variable.read(problem.controls)
    seen = method.objective(problem, here, here.predict(problem.controls), (tokens + 0.1, pooled + 0.2))
    torch.testing.assert_close(seen.penalties["prior"], torch.full((2,), 0.0124), rtol=1e-4, atol=0)


def law_the_sampler_kernel_is_the_kl_of_its_transitions(method):
    """With kernel="sampler" the divergence is ||mean' - mean||^2 / (2 std^2) of the sampler's own Gaussians, in nats, times l2."""
    _, reference, prediction, objective = evaluated(method, 0.2)
    mean, other = prediction.transition, reference.transition
    kl = (mean.mean - other.mean).square().flatten(1).sum(1) / (2 * other.std**2)
    torch.testing.assert_close(objective.penalties["divergence"], method.penalty_weight * kl, rtol=1e-3, atol=1e-9)


def law_the_training_kernel_is_the_kl_of_one_training_step(method):
    """With kernel="training" the divergence is beta / (2 alpha (1 - abar)) ||e~' - e~||^2 with the beta of the training step, times l2."""
    problem, reference, prediction, objective = evaluated(method, 0.2)
    step = problem.steps[0]
    coefficient = (1 - step.alpha) / (2 * step.alpha * step.s**2)
    expected = coefficient * (prediction.eps - reference.eps).square().flatten(1).sum(1)
    torch.testing.assert_close(objective.penalties["divergence"], method.penalty_weight * expected, rtol=1e-3, atol=1e-9)


def law_the_released_factor_is_a_third_higher(method):
    """guidance_factor="released" multiplies the divergence by (s / (s - 1))^2: 1.3314 at s = 7.5."""
    exact = evaluated(NullTTA(), 0.1, guidance=7.5)[-1].penalties["divergence"]
    released = evaluated(method, 0.1, guidance=7.5)[-1].penalties["divergence"]
    torch.testing.assert_close(released / exact, torch.full((2,), 1.33136), rtol=1e-4, atol=0)


def law_inner_steps_grow_within_their_bounds(method):
    """n_i never falls, starts at inner_min, is at most inner_max, and is round(n_min + (n_max - n_min)((1 + rate)^i - 1))."""
    counts = [method.inner(index, 100) for index in range(100)]
    assert counts == sorted(counts)
    assert counts[0] == method.inner_min
    assert counts[-1] <= method.inner_max
    for index, count in enumerate(counts):
        grown = min(1.0, math.pow(1 + method.rate, index) - 1)
        assert abs(count - method.inner_min - (method.inner_max - method.inner_min) * grown) <= 0.5 + 1e-9


def law_as_many_gradients_as_inner_steps(method):
    """One snapshot for each inner step, and one for the result."""
    problem = problem_for(method)
    places = [snapshot.index for snapshot in method.align(problem)]
    expected = [index for index in range(5) for _ in range(method.inner(index, 5))]
    assert places == [*expected, 4]


def law_only_the_chosen_steps_update(method):
    """If updates chooses every second step, phi' changes only there. Children are sampled and selected at every step."""
    problem = problem_for(method)
    assert [snapshot.index for snapshot in method.align(problem)] == [0, 0, 2, 2, 4, 4, 4]
    assert problem.ledger.counts["decode"] == 6 * method.particles * 2, problem.ledger.counts


def law_inner_steps_do_not_evaluate_the_text_branch(method):
    """The text branch is evaluated once for each candidate and step, for any number of inner steps. The null branch is evaluated in each
    inner step."""
    problem = problem_for(method)
    solved(method, problem)
    counts = problem.ledger.counts
    assert counts["text"] == 5 * method.particles * 2, counts
    assert counts["text.backward"] == 0, counts


def law_one_particle_selects_nothing(method):
    """With K = 1 there is no second child and no selection: the reward scores only inner steps and the result."""
    problem = problem_for(method)
    solved(method, problem)
    assert problem.ledger.counts["reward"] == (5 * 2 + 1) * 2, problem.ledger.counts


def law_more_particles_score_higher(method):
    """Without inner steps, selection among K children scores higher on average than plain sampling, and the embedding does not change."""
    problem = problem_for(method, prompts=("a red circle",) * 8, seed=range(8))
    chosen, alone = solved(method, problem), solved(NullTTA(1, 0, 0), problem)
    assert chosen.scores.mean() > alone.scores.mean() + 0.5 * alone.scores.std() / 8**0.5
    assert torch.equal(chosen.controls.null.tokens, problem.controls.null.tokens)


def law_stop_gain_ends_inner_loops_early(method):
    """stop_gain ends every inner loop before its last step, and most of the gain is kept."""
    full = attrs.evolve(method, stop_gain=0.0)
    counts = [problem.ledger.counts["null.backward"] for problem in (spent(method), spent(full))]
    assert 0 < counts[0] < 0.8 * counts[1], counts
    short, long = (solved(each, problem_for(each)).scores.mean() for each in (method, full))
    plain = solved(NullTTA(1, 0, 0), problem_for(method)).scores.mean()
    assert short - plain > 0.6 * (long - plain), (plain, short, long)


def spent(method):
    """A problem after the method has run on it."""
    problem = problem_for(method)
    solved(method, problem)
    return problem


def divergence_of(problem, controls):
    """Nats between the run of these controls and plain sampling, summed over the steps along its path."""
    state, nats = problem.start(controls), torch.zeros(len(problem.prompts))
    for step in problem.steps:
        here = problem.at(state, step)
        with torch.no_grad():
            steered, plain = here.predict(controls), here.predict(problem.controls)
        if steered.transition.std:
            nats = nats + steered.transition.kl(plain.transition)
        else:
            assert torch.equal(steered.x0, plain.x0), "a step without noise was steered, which costs infinitely many nats"
        state = steered.sample(controls.noise[step.index + 1])
    return nats


@attrs.frozen
class Redness:
    """Linear in the image, so no image is best and the whole budget is always used; its unit can be chosen."""

    factor: float

    def __call__(self, images, prompts):
        return self.factor * (images[:, 0] - images[:, 2]).mean((1, 2))


def law_the_divergence_equals_the_budget(method):
    """With kl_budget=0.5 the KL divergence of the chain is 0.5 nats to 0.001, for any unit of the reward and for samplers with and without
    noise in the last step."""
    for factor, last in ((1.0, 1.0), (300.0, 1.0), (1.0, 0.999)):
        problem = problem_for(method, scheduler=vp_scheduler(6, 1.0, last_alpha_bar=last), reward=Redness(factor))
        final = solved(method, problem)
        nats = divergence_of(problem, final.controls)
        torch.testing.assert_close(nats, torch.full((2,), 0.5), rtol=2e-3, atol=0)
        torch.testing.assert_close(final.readings["nats_left"], 0.5 - nats, atol=1e-4, rtol=0)


class Shrinking(NullTTA):
    def inner(self, index, total):
        return max(self.inner_min, self.inner_max - index)


class Unhalved(NullTTA):
    def objective(self, problem, here, reference, value):
        seen = super().objective(problem, here, reference, value)
        return attrs.evolve(seen, penalties={name: 2 * penalty for name, penalty in seen.penalties.items()})


class Quiet(NullTTA):
    """Yields its result only."""

    def align(self, problem):
        *_, last = super().align(problem)
        yield last


POOLED = {"variable": NullEmbedding(pooled=True), "variance": 0.02}
LAWS = [
    (law_without_reward_phi_does_not_change, NullTTA(**SMALL, reward_weight=0.0), NullTTA(**SMALL)),
    (
        law_stop_gain_ends_inner_loops_early,
        NullTTA(1, 12, 12, reward_weight=1.0, stop_gain=0.3),
        NullTTA(1, 12, 12, reward_weight=1.0),
    ),
    (law_penalties_are_zero_at_phi_and_positive_elsewhere, NullTTA(), NullTTA(penalty_weight=0.0)),
    (law_the_prior_is_that_of_the_paper, NullTTA(variance=0.02), Unhalved()),
    (law_the_pooled_vector_has_its_own_prior, NullTTA(**POOLED, pooled_variance=0.5), NullTTA(**POOLED)),
    (law_the_sampler_kernel_is_the_kl_of_its_transitions, NullTTA(kernel="sampler"), NullTTA()),
    (law_the_training_kernel_is_the_kl_of_one_training_step, NullTTA(), NullTTA(kernel="sampler")),
    (law_the_released_factor_is_a_third_higher, NullTTA.released(), NullTTA()),
    (law_inner_steps_grow_within_their_bounds, NullTTA(inner_min=3, inner_max=40), Shrinking(inner_min=3, inner_max=40)),
    (law_as_many_gradients_as_inner_steps, NullTTA(1, 1, 4, rate=0.5), Quiet(1, 1, 2)),
    (law_only_the_chosen_steps_update, NullTTA(**SMALL, updates=Every(2)), NullTTA(**SMALL)),
    (law_inner_steps_do_not_evaluate_the_text_branch, NullTTA(**SMALL), NullTTA(**SMALL, variable=TextEmbedding())),
    (law_one_particle_selects_nothing, NullTTA(1, 2, 2), NullTTA(2, 2, 2)),
    (law_the_divergence_equals_the_budget, NullTTA(1, 8, 8, kl_budget=0.5, optimizer=Adam(0.05)), NullTTA(1, 8, 8, kl_budget=1)),
    (law_more_particles_score_higher, NullTTA(4, 0, 0), NullTTA(1, 0, 0)),
]


@pytest.mark.parametrize(("law", "method", "_broken"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_null_tta_obeys(law, method, _broken):
    law(method)


@pytest.mark.parametrize(("law", "_method", "broken"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_law_catches(law, _method, broken):
    with pytest.raises(AssertionError):
        law(broken)


def test_the_policies_choose_its_updates():
    """A window multiplies the method's choice of steps, and a share replaces it."""
    inner = {"inner_min": 1, "inner_max": 1}
    setup = Setup(GaussianMixture(), vp_scheduler(8, 1.0), Likeness(), NullTTA(**inner, updates=Every(2)))
    counts = [[policy(setup).method.inner(step, 8) for step in range(8)] for policy in (UpdateWindow(0.5, 1.0), UpdateFraction(0.25))]
    assert counts == [[0, 0, 0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 1, 0, 0, 0]]


def test_published_decay_of_the_penalties():
    """With rate 0.008 the penalties are exactly 0 from step 87 of 100 on and not before; with 50 steps they fall to about half."""
    decay = GeometricDecay(NullTTA().rate)
    assert decay(87, 100) == 0 < decay(86, 100)
    assert 0.4 < decay(49, 50) < 0.6


def test_the_training_kernel_needs_betas():
    """A flow-matching table has no betas, and the error names the kernel that needs none."""
    method = NullTTA(1, 1, 1)
    with pytest.raises(IncompatibleError, match="kernel='sampler'"):
        solved(method, problem_for(method, backbone=GaussianMixture(output="flow"), scheduler=flow_scheduler(3, 1.0)))


def test_the_training_kernel_refuses_a_terminal_snr_of_zero():
    """Betas that are rescaled to a terminal SNR of zero end at beta = 1, and the kernel would divide by alpha = 0. This is refused before
    the baseline is sampled."""
    config = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction", "clip_sample": False}
    scheduler = native(DDIMScheduler(**config), 3, 1.0, (4, 4, 4))
    assert scheduler.steps[0].alpha == 0
    backbone = GaussianMixture(output="v_prediction")
    with pytest.raises(IncompatibleError, match=r"alpha is 0 at step 0.*kernel='sampler'"):
        problem_for(NullTTA(1, 1, 1), backbone=backbone, scheduler=scheduler)
    method = NullTTA(1, 1, 1, kernel="sampler")
    assert torch.isfinite(solved(method, problem_for(method, backbone=backbone, scheduler=scheduler)).x0).all()


def test_released_for_sdxl_steers_the_pooled_vector_too():
    """Both the tokens and the pooled vector change."""
    method = attrs.evolve(NullTTA.released(pooled=True), particles=1, inner_min=1, inner_max=1)
    problem = problem_for(method, backbone=GaussianMixture(pooled=True))
    last = solved(method, problem)
    assert not torch.equal(last.controls.null.tokens, problem.controls.null.tokens)
    assert not torch.equal(last.controls.null.pooled, problem.controls.null.pooled)


def test_the_released_factor_needs_guidance():
    method = NullTTA(1, 1, 1, guidance_factor="released", variable=TextEmbedding())
    with pytest.raises(IncompatibleError, match="guidance_factor='exact'"):
        solved(method, problem_for(method, guidance=1.0))


def test_the_sampler_kernel_needs_noise_at_every_step_but_the_last():
    """A deterministic sampler is refused before the first step; the training kernel accepts it."""
    method = NullTTA(1, 1, 1, kernel="sampler")
    for eta in (0.0, Every(2)):
        for refused in (method, Sequential((method,))):
            with pytest.raises(IncompatibleError, match=r"adds no noise.*eta > 0.*kernel='training'"):
                problem_for(refused, scheduler=vp_scheduler(3, eta))
    assert problem_for(method, scheduler=vp_scheduler(3, AllButLast()))
    assert problem_for(NullTTA(1, 1, 1), scheduler=vp_scheduler(3, 0.0))


def test_particles_need_noise_at_some_step():
    """Without noise the children of a step are equal, so K > 1 is refused, and K = 1 is not."""
    for refused in (NullTTA(2, 1, 1), Sequential((NullTTA(2, 1, 1),))):
        with pytest.raises(IncompatibleError, match=r"all children of a step are equal.*particles=1.*eta > 0"):
            problem_for(refused, scheduler=vp_scheduler(3, 0.0))
    assert problem_for(NullTTA(2, 1, 1), scheduler=vp_scheduler(3, Every(2)))


@pytest.mark.parametrize(
    ("method", "said"), [(NullTTA(1, 1, 1, kernel="sampler"), "step 0 adds no noise"), (NullTTA(2), "several particles")]
)
def test_the_refusals_see_the_steps_that_an_image_leaves(method, said):
    """Only steps 0 and 1 of 4 add noise, and a run that starts from an image has only steps 2 and 3."""
    problem = problem_for(NullTTA(2), scheduler=vp_scheduler(4, Steps((0, 1))))
    with pytest.raises(IncompatibleError, match=said):
        attrs.evolve(problem, scheduler=last_steps(problem.scheduler, 0.5)).check(method.needs)


def test_the_sampler_kernel_works_for_every_family():
    """kernel="sampler" works with VE and flow-matching tables, also if the last step adds no noise."""
    method = NullTTA(2, 1, 1, kernel="sampler")
    for scheduler in (ve_scheduler(3, 1.0), flow_scheduler(3, 1.0)):
        problem = problem_for(method, backbone=GaussianMixture(output=scheduler.output), scheduler=scheduler)
        assert torch.isfinite(solved(method, problem).x0).all()


@pytest.mark.parametrize(
    "weights", [{"penalty_weight": 0.002}, {"reward_weight": 1.0}, {"kernel": "training"}, {"guidance_factor": "released"}]
)
def test_a_budget_takes_the_place_of_the_weights(weights):
    with pytest.raises(InputError, match="kl_budget"):
        NullTTA(kl_budget=1.0, **weights)


def test_a_budget_whose_weight_moves_does_not_end_by_gains():
    with pytest.raises(InputError, match=r"stop_gain is 0\.2, but with kl_budget"):
        NullTTA(kl_budget=1.0, stop_gain=0.2)


def test_budget_and_weights_cannot_both_be_given():
    with pytest.raises(InputError, match=r"NullTTA\.penalty_weight is None"):
        NullTTA(penalty_weight=None)
    assert (NullTTA().penalty_weight, NullTTA().kernel) == (0.002, "training")
    assert (NullTTA(kl_budget=2.0).penalty_weight, NullTTA(kl_budget=2.0).kernel) == (None, "sampler")


def test_the_budget_and_the_weights_that_it_replaces_are_shown():
    shown = CliRunner().invoke(app, ["show", "null-tta"]).output
    for setting in (
        "kl_budget: float | None = None",
        "penalty_weight: float | None = 0.002",
        "kernel: Literal['training', 'sampler'] = 'training'",
    ):
        assert setting in shown
