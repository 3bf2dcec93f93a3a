"""Estimated gradients compared with the exact one, on an objective whose gradient is known."""

import pytest
import torch

from tta_core.errors import IncompatibleError, InputError
from tta_core.solving.estimators import Exact, Hybrid1, Hybrid2, Objective, ZerothOrder
from tta_core.solving.look import Look
from tta_core.testing.problems import Opaque, problem_for
from tta_core.values.typing import evolve
from tta_plugins.methods.baselines import Fixed
from tta_plugins.methods.date import DATE

VALUE = (torch.linspace(-1, 1, 24).view(2, 12),)
SLOPE = torch.linspace(1, 2, 12)


@pytest.fixture
def problem():
    return problem_for(DATE())


def linear(value):
    """The images are the value itself, the score is their weighted sum, and the penalty is half their squared norm."""
    images = value[0].view(-1, 3, 2, 2)
    return Objective(Look(images, images, (images.flatten(1) * SLOPE).sum(1)), 2.0, {"size": 0.5 * value[0].square().sum(1)})


def exact_gradient(value):
    return 2.0 * SLOPE - value[0]


def test_exact_is_backpropagation(problem):
    seen, (gradient,) = Exact()(linear, VALUE, problem, (0,))
    torch.testing.assert_close(gradient, exact_gradient(VALUE))
    assert not seen.total.requires_grad
    torch.testing.assert_close(seen.total, 2 * seen.look.scores - seen.penalties["size"])


def test_zeroth_order_is_right_on_average(problem):
    _, (gradient,) = ZerothOrder(mu=0.01, directions=3000)(linear, VALUE, problem, (0,))
    assert (torch.cosine_similarity(gradient, exact_gradient(VALUE)) > 0.98).all()
    assert (gradient.norm(dim=1) / exact_gradient(VALUE).norm(dim=1) - 1).abs().max() < 0.15


def test_hybrids_follow_the_objective(problem):
    _, (gradient,) = Hybrid2(directions=2000)(linear, VALUE, problem, (0,))
    reward_part = gradient + VALUE[0]
    assert (torch.cosine_similarity(reward_part, SLOPE.expand(2, 12)) > 0.95).all()
    assert torch.allclose(reward_part.norm(dim=1), torch.full((2,), 2.0), rtol=1e-3), "the reward's part has the length of its weight"


def test_hybrid_1_estimates_the_rewards_slope_on_images(problem):
    images = torch.full((2, 3, 8, 8), 0.5)

    def through_images(value):
        seen = images + value[0].view(2, 3, 1, 1)
        return Objective(Look(seen, seen, problem.score(seen)), 1.0, {})

    value = (torch.zeros(2, 3),)
    _, (exact,) = Exact()(through_images, value, problem, (0,))
    _, (estimated,) = Hybrid1(mu=0.01, directions=3000)(through_images, value, problem, (0,))
    assert (torch.cosine_similarity(exact, estimated) > 0.95).all()


@pytest.mark.parametrize("estimator", [ZerothOrder(), Hybrid1(), Hybrid2()])
def test_directions_are_keyed_and_do_not_depend_on_call_order(problem, estimator):
    first, second, other = (estimator(linear, VALUE, problem, key)[1][0] for key in ((0,), (0,), (1,)))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("estimator", "needs"), [(Exact(), True), (ZerothOrder(), False), (Hybrid1(), False), (Hybrid2(), False)])
def test_their_requirements_of_the_reward(estimator, needs):
    assert estimator.needs_gradient is needs


@pytest.mark.parametrize("estimator", [ZerothOrder, Hybrid1, Hybrid2])
def test_without_perturbations_there_is_no_estimate(estimator):
    for setting in ({"mu": 0.0}, {"directions": 0}):
        with pytest.raises(InputError, match="give a number above 0"):
            estimator(**setting)


def test_an_objective_without_a_graph_is_refused():
    problem = evolve(problem_for(Fixed()), reward=Opaque())
    with pytest.raises(IncompatibleError, match="Opaque"):
        problem.gradient(torch.zeros(2), VALUE)
