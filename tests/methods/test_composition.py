"""Rewards can be combined to one whose parts are in the trace, and methods to a sequence."""

import pytest
import torch
from published import FOLDER

import tta_core as tta
from tta_core.errors import IncompatibleError
from tta_core.protocols.variables import NullEmbedding, Product, TextEmbedding
from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.tables import vp_scheduler
from tta_core.values.schedules import Every
from tta_plugins.methods.baselines import Fixed
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.methods.sequential import Sequential
from tta_plugins.rewards.mixtures import Minimum, WeightedSum
from tta_plugins.rewards.pixels import Brightness, Contrast


def aligned(method, reward, eta=1.0):
    return tta.align(["a", "b"], backbone=GaussianMixture(), method=method, reward=reward, scheduler=vp_scheduler(6, eta))


def test_each_part_of_a_mixture_is_in_the_trace():
    run = aligned(DATE(updates=Every(1)), WeightedSum({"bright": (Brightness(), 2.0), "contrast": Contrast()}))
    for row in run.trace:
        assert set(row.parts) == {"bright", "contrast"}
        mixed = [2 * bright + contrast for bright, contrast in zip(row.parts["bright"], row.parts["contrast"], strict=True)]
        assert row.scores == pytest.approx(mixed, abs=1e-5)
    assert run.scores.mean > run.baseline.scores.mean


def test_the_parts_are_those_of_the_best_particle():
    run = aligned(NullTTA(particles=3, inner_min=1, inner_max=1), Minimum({"bright": Brightness(), "contrast": Contrast()}))
    last = run.trace[-1]
    smaller = [min(pair) for pair in zip(last.parts["bright"], last.parts["contrast"], strict=True)]
    assert last.scores == pytest.approx(smaller, abs=1e-5)


def test_one_method_after_another_starts_where_the_first_ended():
    first, second = DATE(rho=0.3, updates=Every(2)), DNO(iterations=3, regularisation=0.0)
    both = Sequential((first, second))
    with tta.prepare("a", backbone=GaussianMixture(), method=both, reward=Brightness(), scheduler=vp_scheduler(6, 1.0)) as prepared:
        snapshots = list(both.align(prepared.problem))
        alone = list(first.align(prepared.problem))
    assert [snapshot.total for snapshot in snapshots] == [6] * len(alone) + [3] * 4
    handed_over = snapshots[len(alone)]
    assert torch.equal(handed_over.controls.text.tokens, alone[-1].controls.text.tokens)
    assert not torch.equal(handed_over.controls.text.tokens, prepared.problem.controls.text.tokens)


def test_methods_may_steer_the_same_control_in_turn():
    both = NullEmbedding() & TextEmbedding()
    assert Sequential((DATE(variable=both), DATE())).needs.variable == both
    assert Sequential((DATE(), Fixed(), DATE())).needs.variable == Product((TextEmbedding(),))


def test_methods_that_need_different_samplers_are_refused():
    with pytest.raises(IncompatibleError, match=r"DNO then DNO.*different eta \(0.0, 1.0\)"):
        aligned(Sequential((DNO(eta=0.0), DNO())), Brightness())
    assert aligned(Sequential((Fixed(), Fixed())), Brightness()).scores.values == aligned(Fixed(), Brightness()).scores.values


def test_an_eta_that_a_sampler_ignores_gives_a_warning():
    with (
        pytest.warns(UserWarning, match=r"eta is 0.3, but it has no effect on this sampler \(LCM\)"),
        tta.prepare("a", backbone=str(FOLDER / "tiny-sd"), method=Fixed(), reward=Brightness(), scheduler="lcm", steps=2, eta=0.3),
    ):
        pass


@pytest.mark.parametrize(
    ("unused", "said"),
    [({"negative": "dull", "guidance": 1}, "no effect without guidance"), ({"strength": 0.5}, "no effect without an image")],
)
def test_an_argument_without_effect_gives_a_warning(unused, said):
    with (
        pytest.warns(UserWarning, match=said),
        tta.prepare("a", backbone=str(FOLDER / "tiny-sd"), method=Fixed(), reward=Brightness(), steps=2, **unused),
    ):
        pass
