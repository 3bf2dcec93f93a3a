"""What is foretold is what is measured, and foretelling leaves nothing behind."""

from functools import lru_cache

import pytest
import torch

import tta_core
from tta_core.preparation import prepare
from tta_core.schedules import Every, Window
from tta_plugins.cost.counted import Counted
from tta_plugins.cost.flops import Flops
from tta_plugins.cost.forecast import forecast
from tta_plugins.cost.laboratory import laboratory
from tta_plugins.cost.peaks import foretold
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.chunked import Chunked
from tta_plugins.memory.convolutions import FrozenConvolutions
from tta_plugins.memory.segments import Segments
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA

PROMPTS = ("a red circle", "a blue square")
NULL_TTA, CHAIN = NullTTA(particles=2, inner_min=1, inner_max=1), DNO(1, shuffles=2)
RUNS = [
    (DATE(updates=Window(0.5, 1.0)), (FrozenConvolutions(), Checkpointing())),
    (CHAIN, (Segments(),)),
]
MORE_RUNS = [
    (NULL_TTA, (FrozenConvolutions(), Chunked())),
    (DATE(updates=Every(2)), ()),
    (NULL_TTA, ()),
    (CHAIN, ()),
    (CHAIN, (Segments(2), FrozenConvolutions())),
]


def name_of(run):
    return "+".join(type(part).__name__ for part in (run[0], *run[1]))


@pytest.mark.parametrize("run", [*RUNS, *(pytest.param(run, marks=pytest.mark.slow) for run in MORE_RUNS)], ids=name_of)
def test_the_peak_is_within_fifteen_percent(shapes, run):
    method, memory = run
    measured = tta_core.align(PROMPTS, backbone=shapes, method=method, memory=(*memory, Counted(peak=True)), steps=4).cost
    with prepare(PROMPTS, backbone=shapes, method=method, memory=memory, steps=4) as prepared:
        predicted = foretold(prepared.setup)
    for phase in ("baseline", "method"):
        assert predicted.phases[phase] == pytest.approx(measured.phases[phase].peak_bytes, rel=0.15), phase


def test_the_flops_are_those_of_the_run(shapes):
    method = DATE(updates=Every(2))
    with prepare(PROMPTS, backbone=shapes, method=method, memory=Checkpointing(), steps=4) as prepared:
        foreseen = forecast(prepared.setup)
        with Flops() as flops:
            for _ in method.align(prepared.problem):
                pass
    assert foreseen.total_flops == pytest.approx(flops.total, rel=0.02)
    assert foreseen.evaluations == prepared.problem.ledger.evaluations
    assert "denoiser" in foreseen.dominates


def test_the_laboratory_touches_nothing(shapes):
    with prepare(PROMPTS, backbone=shapes, method=DATE(), steps=2) as prepared:
        setup = prepared.setup
        tensors = [tensor for network in shapes.networks.values() for tensor in network.parameters()]
        bits = [(id(tensor), tensor.data_ptr(), tensor.sum().item()) for tensor in tensors]
        known = dict(setup.reward._clip._cosine.text._known)
        with laboratory(setup) as lab:
            score = lab.reward(torch.rand(1, 3, 64, 64), ("three green triangles",))
            assert lab.backbone is not setup.backbone
        assert type(score) is not torch.Tensor
        assert [(id(tensor), tensor.data_ptr(), tensor.sum().item()) for tensor in tensors] == bits
        assert setup.reward._clip._cosine.text._known.keys() == known.keys()
        assert setup.reward(torch.rand(1, 3, 64, 64), ("three green triangles",)).isfinite().all()


def test_caches_do_not_remember_tensors_without_data(shapes):
    @lru_cache
    def table(size):
        return torch.arange(size)

    table(2)
    with prepare(PROMPTS, backbone=shapes, method=DATE(), steps=2) as prepared, laboratory(prepared.setup):
        table(3)
    assert type(table(3)) is torch.Tensor
    assert type(table(2)) is torch.Tensor
