"""A method counted on dummies is counted as it runs; prices, budgets and phases of the ledger."""

import pytest
import torch

import tta_core
from tta_core.errors import InputError
from tta_core.protocols.memory import Setup
from tta_core.solving.estimators import Hybrid2, ZerothOrder
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness, problem_for
from tta_core.values.ledger import Ledger
from tta_core.values.schedules import Every
from tta_plugins.cost.evaluation_count import evaluation_count
from tta_plugins.memory.counted import Counted
from tta_plugins.memory.segments import Segments
from tta_plugins.methods.baselines import BestOfN, Fixed, RandomDirection
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA

METHODS = [
    Fixed(),
    BestOfN(3),
    RandomDirection(),
    DATE(updates=Every(2)),
    DATE(updates=Every(3), estimator=ZerothOrder()),
    NullTTA(inner_min=1, inner_max=3, rate=0.1),
    NullTTA(particles=1, inner_min=1, inner_max=1),
    DNO(2, shuffles=2),
    DNO(1, shuffles=2, estimator=Hybrid2()),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("guidance", [1.5, 1.0])
def test_a_dummy_is_called_as_often_as_the_backbone(method, guidance):
    if guidance == 1 and isinstance(method, NullTTA):
        pytest.skip("it steers the null embedding, which guidance 1 has none of")
    scheduler = vp_scheduler(5, 1.0)
    problem = problem_for(method, scheduler=scheduler, guidance=guidance)
    for _ in method.align(problem):
        pass
    setup = Setup(GaussianMixture(), scheduler, Likeness(), method, prompts=problem.prompts, guidance=guidance)
    assert evaluation_count(setup) == dict(problem.ledger.counts)


def test_recomputed_segments_are_counted():
    setup = Setup(GaussianMixture(), vp_scheduler(6, 1.0), Likeness(), DNO(1, shuffles=2), guidance=2.0)
    plain, segmented = evaluation_count(setup), evaluation_count(Segments()(setup))
    assert plain["text"] == plain["null"] == 12  # one iteration, and the last judgement
    assert segmented["text"] == segmented["null"] == 18


def test_a_ledger_multiplies_rows_by_prices():
    ledger = Ledger(prices={"text": 10.0, "text.backward": 7.0})
    assert Ledger().flops is None
    leaf = torch.ones(2, requires_grad=True)
    ledger.forward("text", leaf * 2, 3).sum().backward()
    ledger.forward("reward", leaf * 2, 3)
    assert ledger.flops == 3 * 10 + 3 * 7
    assert ledger.fresh().prices == ledger.prices
    assert not ledger.fresh().counts


@pytest.mark.parametrize("limit", [{"flops": 1e7}, {"evaluations": 20}, {"seconds": 1e-9}], ids=str)
@pytest.mark.parametrize("method", [DATE(updates=Every(1)), DNO(30, shuffles=2)], ids=["DATE", "DNO"])
def test_a_budget_stops_at_a_snapshot_with_the_best_so_far(method, limit, small):
    (name, most), *_ = limit.items()
    options = {**small, "scheduler": vp_scheduler(8, method.needs.eta), "method": method, "baseline": False}
    run = tta_core.align("a red circle", budget=tta_core.Budget(**limit), **options)
    assert "budget" in run.stopped
    assert len(run.trace) >= 1
    assert run.trace[-1].index + 1 < run.trace[-1].total
    spent = {"flops": run.cost.flops, "evaluations": run.cost.evaluations, "seconds": run.cost.seconds}[name]
    assert spent > most
    assert run.scores[0] == run.scores[0]


def test_a_budget_of_zero_is_refused():
    with pytest.raises(InputError, match="not above 0"):
        tta_core.Budget(flops=0)


def test_phases_have_seconds_and_on_request_peaks(shapes):
    run = tta_core.align("a red circle", backbone=shapes, method=DATE(updates=Every(1)), steps=2, memory=Counted(peak=True))
    assert set(run.cost.phases) == {"baseline", "method", "result"}
    assert run.cost.phases["method"].peak_bytes > run.cost.phases["baseline"].peak_bytes > 0
    assert run.cost.seconds == pytest.approx(run.cost.phases["method"].seconds + run.cost.phases["result"].seconds)
    assert run.cost.peak_bytes == run.cost.phases["method"].peak_bytes
    assert run.record()["cost"]["flops"] == run.cost.flops > 0
