"""Evaluations of the baseline are not repeated, and the counts are those of a run without a baseline."""

import pytest
import torch

import tta_core as tta
import tta_core.solving.plain
import tta_core.values.schedules
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness, problem_for, solved
from tta_plugins.methods.baselines import BestOfN, Fixed
from tta_plugins.methods.date import DATE


def aligned(method, steps=6):
    return tta.align(
        ["a red circle", "a blue square"], backbone=GaussianMixture(), method=method, reward=Likeness(), scheduler=vp_scheduler(steps, 1.0)
    )


@pytest.mark.filterwarnings("ignore:DATE changed nothing")
@pytest.mark.parametrize(
    ("method", "reused"),
    [(Fixed(), {"text": 12, "null": 12}), (BestOfN(3), {"text": 12, "null": 12}), (DATE(), {"text": 6, "null": 8}), (DATE(rho=0.0), None)],
    ids=["fixed", "best of n", "second half", "no change"],
)
def test_evaluations_of_the_baseline_are_not_repeated(method, reused):
    cost = aligned(method).cost
    shared = {name: rows for name, rows in cost.reused.items() if name in ("text", "null")}
    assert reused is None or shared == reused
    assert all(cost.reused[name] <= cost.counts[name] for name in cost.reused)


@pytest.mark.parametrize("method", [Fixed(), BestOfN(3), DATE(), DATE(updates=tta.values.schedules.Every(2))], ids=repr)
def test_result_and_counts_are_those_of_a_run_without_a_baseline(method):
    together = aligned(method)
    problem = problem_for(method, scheduler=vp_scheduler(6, 1.0))
    alone = solved(method, problem)
    torch.testing.assert_close(together.result.pixels, alone.images, atol=1e-5, rtol=0)
    assert dict(together.cost.counts) == dict(problem.ledger.counts)
    assert not problem.ledger.reused


def test_an_embedding_that_was_changed_in_place_is_evaluated_again():
    problem = problem_for(Fixed())
    known = tta.solving.plain.PlainRun()
    recorded = tta.values.typing.evolve(problem, plain=known)
    with torch.no_grad():
        first = recorded.at(recorded.start(recorded.controls), recorded.steps[0]).predict(recorded.controls)
        known.recording = False
        recorded.controls.text.tokens.add_(0.1)
        again = recorded.at(recorded.start(recorded.controls), recorded.steps[0]).predict(recorded.controls)
    assert not torch.equal(first.x0, again.x0)
    assert recorded.ledger.reused == {"null": 2}
