"""At one point of a trajectory each guidance branch is evaluated once, and again only if its own embedding has changed."""

import pytest
import torch

from tta_core import NullEmbedding, TextEmbedding
from tta_core.testing import GaussianMixture
from tta_core.testing.problems import plain, problem_for
from tta_core.values.trajectory import State
from tta_plugins.methods.baselines import Fixed


@pytest.fixture
def problem():
    return problem_for(Fixed(), steps=3)


@pytest.fixture
def here(problem):
    return problem.at(problem.start(problem.controls), problem.steps[0])


def counts(problem):
    return problem.ledger.counts["text"], problem.ledger.counts["null"]


def test_a_second_prediction_needs_no_evaluation(problem, here):
    with torch.no_grad():
        first, second = here.predict(problem.controls), here.predict(problem.controls)
    assert torch.equal(first.x0, second.x0)
    assert counts(problem) == (2, 2)


@pytest.mark.parametrize(("variable", "cost"), [(TextEmbedding(), (4, 2)), (NullEmbedding(), (2, 4))])
def test_a_changed_embedding_evaluates_only_its_own_branch(problem, here, variable, cost):
    with torch.no_grad():
        here.predict(problem.controls)
        changed = variable.write(problem.controls, tuple(tensor + 0.1 for tensor in variable.read(problem.controls)))
        moved = here.predict(changed)
    assert counts(problem) == cost
    with torch.no_grad():
        afresh = problem.at(here.state, here.step).predict(changed)
    assert torch.equal(moved.x0, afresh.x0)


def test_an_update_in_place_is_detected(problem, here):
    with torch.no_grad():
        before = here.predict(problem.controls).x0.clone()
        problem.controls.text.tokens.add_(1)
        after = here.predict(problem.controls).x0
    assert not torch.equal(before, after)
    assert counts(problem) == (4, 2)


def test_a_graph_is_kept_for_the_steered_branch_alone(problem, here):
    (leaf,) = NullEmbedding().read(problem.controls)
    leaf = leaf.clone().requires_grad_()
    prediction = here.predict(NullEmbedding().write(problem.controls, (leaf,)))
    prediction.x0.sum().backward()
    assert leaf.grad.any()
    assert problem.ledger.counts["text.backward"] == 0
    assert problem.ledger.counts["null.backward"] == 2


def test_a_graph_through_x_is_never_reused(problem):
    x = problem.start(problem.controls).x.requires_grad_()
    here = problem.at(State(x), problem.steps[0])
    for _ in range(2):
        (gradient,) = torch.autograd.grad(here.predict(problem.controls).x0.sum(), x)
        assert gradient.any()


def test_guidance_one_leaves_the_null_branch_out():
    problem = problem_for(Fixed(), guidance=1.0)
    plain(problem)
    assert counts(problem) == (2 * 5, 0)


def test_guidance_is_applied_once(problem, here):
    backbone, controls = problem.backbone, problem.controls
    with torch.no_grad():
        text, null = here.branch("text", controls.text), here.branch("null", controls.null)
        expected = problem.scheduler.predict(here.state, null + problem.guidance * (text - null), here.step)
        torch.testing.assert_close(here.predict(controls).x0, expected.x0)
        assert torch.equal(backbone.predict(here.state.x, here.step, controls.text), text)


def test_particles_share_an_embedding(problem):
    here = problem.at(problem.start(problem.controls, 3), problem.steps[0])
    with torch.no_grad():
        together = here.predict(problem.controls).x0
        alone = problem.at(State(here.state.x[2:4]), here.step).predict(problem.controls).x0
    assert together.shape[0] == 6
    torch.testing.assert_close(together[2:4], alone)
    with torch.no_grad():
        assert torch.equal(here.take(torch.tensor([2, 3])).predict(problem.controls).x0, together[2:4])
    assert counts(problem) == (8, 8), "what is known about chosen rows was evaluated again"


def test_perturbed_embeddings_share_x(problem, here):
    tokens = problem.controls.text.tokens
    perturbed = torch.cat([tokens, tokens + 0.1, tokens - 0.1])
    with torch.no_grad():
        together = here.predict(TextEmbedding().write(problem.controls, (perturbed,))).x0
        alone = here.predict(TextEmbedding().write(problem.controls, (tokens + 0.1,))).x0
    torch.testing.assert_close(together[2:4], alone)


@pytest.mark.parametrize("segment", [1, 2, 99])
def test_segments_give_the_same_sample_and_gradient(segment):
    import attrs

    results = []
    for size in (None, segment):
        problem = attrs.evolve(problem_for(Fixed()), segment=size)
        noise = problem.controls.noise.clone().requires_grad_()
        x0 = problem.sample(attrs.evolve(problem.controls, noise=noise))
        results.append((x0.detach(), torch.autograd.grad(x0.square().sum(), noise)[0]))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second)


def test_gradients_are_divided_by_the_loss_scale():
    import attrs

    gradients = []
    for scale in (1.0, 1024.0):
        problem = attrs.evolve(problem_for(Fixed(), backbone=GaussianMixture()), loss_scale=scale, differentiable=True)
        noise = problem.controls.noise.clone().requires_grad_()
        scores = problem.look(problem.sample(attrs.evolve(problem.controls, noise=noise))).scores
        gradients.append(problem.gradient(scores, (noise,))[0])
    torch.testing.assert_close(*gradients)
