"""Laws that DATE keeps in addition to those of every method, each with a class that keeps it and one that breaks it."""

import attrs
import pytest
import torch

from tta_core.solving import steering
from tta_core.solving.estimators import Exact, ZerothOrder
from tta_core.testing import vp_scheduler
from tta_core.testing.problems import problem_for, solved
from tta_core.values.schedules import Every
from tta_core.values.typing import frozen
from tta_plugins.methods.date import DATE


def updates(method):
    """(embedding before, embedding after, gradient) of every update but the last."""
    problem = problem_for(method)
    seen = [snapshot for snapshot in method.align(problem) if snapshot.gradient]
    tokens = [snapshot.controls.text.tokens for snapshot in seen]
    return problem, [(before, after, snapshot.gradient) for before, after, snapshot in zip(tokens, tokens[1:], seen, strict=False)]


def law_each_update_has_length_rho(method):
    """||c_new - c_start|| = rho for every sample whose gradient is not zero."""
    problem, made = updates(method)
    assert made
    for before, after, _ in made:
        start = problem.controls.text.tokens if method.start == "original" else before
        length = steering.norm((after - start,))
        expected = method.rho * (steering.norm(method.variable.read(problem.controls)) if method.relative else torch.ones(2))
        torch.testing.assert_close(length, expected, rtol=1e-4, atol=0)


def law_each_update_follows_the_gradient(method):
    """c_new - c_start is a positive multiple of the gradient, per sample."""
    problem, made = updates(method)
    for before, after, gradient in made:
        start = problem.controls.text.tokens if method.start == "original" else before
        cosine = torch.cosine_similarity((after - start).flatten(1), gradient[0].flatten(1))
        assert (cosine > 1 - 1e-4).all(), cosine


def law_the_reward_rises_to_first_order(method):
    """A small enough update does not lower h(x0^(x_t, c)) of any sample."""
    problem, made = updates(method)
    here = problem.at(problem.start(problem.controls), problem.steps[0])
    before, after, _ = made[0]
    h = [problem.look_ahead(here.predict(method.variable.write(problem.controls, (tokens,))).x0).scores for tokens in (before, after)]
    assert (h[1] - h[0] > 0).all(), h


def law_from_the_original_start_the_distance_is_at_most_rho(method):
    """With start="original", ||c - c_org|| is never more than rho."""
    problem = problem_for(method)
    for snapshot in method.align(problem):
        distance = steering.norm((snapshot.controls.text.tokens - problem.controls.text.tokens,))
        assert (distance <= method.rho * (1 + 1e-4)).all(), distance


def law_the_prior_is_the_mean_square_distance(method):
    """The prior is 0 at c_org, and weight * mean (c - c_org)^2 elsewhere; it is subtracted from the reward."""
    problem = problem_for(method)
    for snapshot in method.align(problem):
        if snapshot.objective is not None:
            distance = (snapshot.controls.text.tokens - problem.controls.text.tokens).square().mean((1, 2))
            torch.testing.assert_close(snapshot.penalties["prior"], 0.7 * distance)
            torch.testing.assert_close(snapshot.objective, snapshot.scores - 0.7 * distance)


def law_the_noisy_look_scores_the_next_x(method):
    """With look="noisy", the reward is that of the next x, sampled with the noise of its step and decoded."""
    problem = problem_for(method, scheduler=vp_scheduler(5, 1.0))
    first = next(iter(method.align(problem)))
    with torch.no_grad():
        prediction = problem.at(problem.start(problem.controls), problem.steps[0]).predict(problem.controls)
    assert prediction.transition.std > 0
    torch.testing.assert_close(first.scores, problem.look_ahead(prediction.sample(problem.controls.noise[1]).x).scores)


def law_the_null_branch_is_evaluated_once_a_step(method):
    """In a step with an update, for each sample, the null branch is evaluated once, and the text branch twice: for the gradient, and with
    the new embedding."""
    problem = problem_for(method, steps=4)
    solved(method, problem)
    assert (problem.ledger.counts["null"], problem.ledger.counts["text"]) == (4 * 2, 2 * 4 * 2), problem.ledger.counts
    assert problem.ledger.counts["null.backward"] == 0, "the null branch was differentiated"


@frozen
class Descending(Exact):
    def __call__(self, evaluate, value, problem, key):
        seen, gradient = super().__call__(evaluate, value, problem, key)
        return seen, tuple(-tensor for tensor in gradient)


class Sideways(DATE):
    """Reports the gradient of the next sample as each sample's own."""

    def align(self, problem):
        for snapshot in super().align(problem):
            yield attrs.evolve(snapshot, gradient=tuple(tensor.roll(1, 0) for tensor in snapshot.gradient))


STEP = {"rho": 0.3, "updates": Every(1)}
LENGTHS = [DATE(**STEP), DATE(**STEP, start="original"), DATE(**STEP, relative=True)]
LAWS = [
    (
        law_each_update_has_length_rho,
        [DATE(**STEP), DATE(**STEP, start="original"), DATE(**STEP, relative=True)],
        DATE(**STEP, normalise=False),
    ),
    (law_each_update_follows_the_gradient, [DATE(**STEP), DATE(**STEP, start="original")], Sideways(**STEP)),
    (law_the_reward_rises_to_first_order, [DATE(rho=0.01, updates=Every(1))], DATE(rho=0.01, updates=Every(1), estimator=Descending())),
    (law_from_the_original_start_the_distance_is_at_most_rho, [DATE(**STEP, start="original")], DATE(**STEP, start="current")),
    (law_the_prior_is_the_mean_square_distance, [DATE(**STEP, prior=0.7)], DATE(**STEP, prior=0.1)),
    (
        law_the_noisy_look_scores_the_next_x,
        [DATE(**STEP, look="noisy"), DATE(**STEP, look="noisy", estimator=ZerothOrder())],
        DATE(**STEP),
    ),
    (law_the_null_branch_is_evaluated_once_a_step, [DATE(**STEP)], DATE(**STEP, iterations=2)),
]


@pytest.mark.parametrize(("law", "methods", "_broken"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_date_obeys(law, methods, _broken):
    for method in methods:
        law(method)


@pytest.mark.parametrize(("law", "_methods", "broken"), LAWS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_law_catches(law, _methods, broken):
    with pytest.raises(AssertionError):
        law(broken)
