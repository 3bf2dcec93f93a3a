"""Policies that wrap: the rows of each call, the decoder that is used, the steps that update, and the record of the run."""

import attrs
import pytest
import torch

import tta_core
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import Mixed, card_of, networks_of
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Every
from tta_core.values.typing import evolve
from tta_plugins.memory.chunked import Chunked, VAESlicing
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.update_schedule import UpdateFraction, UpdateWindow
from tta_plugins.methods.date import DATE
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.rewards.mixtures import Minimum, Product, WeightedSum
from tta_plugins.rewards.pixels import Brightness, Contrast


@attrs.define(eq=False)
class Watched:
    """A decoder that records the latents that it is given."""

    decode: object
    shapes: list = attrs.field(factory=list)

    def __call__(self, x0):
        self.shapes.append(tuple(x0.shape))
        return self.decode(x0)


@attrs.define(eq=False)
class Judge:
    rows: list = attrs.field(factory=list)

    def __call__(self, images, prompts):
        self.rows.append((images.shape[0], len(prompts)))
        return Likeness()(images, prompts)


def watched(*memory, method=None, scheduler=None):
    judge, decoder = Judge(), Watched(GaussianMixture().decode)
    backbone = WrappedBackbone(GaussianMixture(), decoding=decoder)
    method = method or DATE(rho=0.5, updates=Every(2))
    scheduler = scheduler or vp_scheduler(4, 1.0)
    run = tta_core.align(["a", "b", "c"], backbone=backbone, method=method, reward=judge, scheduler=scheduler, memory=memory)
    return run, decoder.shapes, judge.rows


def test_chunks_are_no_larger_than_set_and_give_the_same():
    plain, _, _ = watched()
    run, decoded, judged = watched(Chunked(denoiser=2, decoder=2, reward=1))
    assert {shape[0] for shape in decoded} == {1, 2}
    assert set(judged) == {(1, 1)}
    torch.testing.assert_close(run.result.pixels, plain.result.pixels)


@pytest.mark.parametrize("mixture", [WeightedSum, Minimum, Product], ids=lambda mixture: mixture.__name__)
@pytest.mark.parametrize("rows", [1, 2])
def test_a_mixture_in_chunks_keeps_its_parts(mixture, rows):
    reward, chunks = mixture({"bright": (Brightness(), 2.0), "contrast": Contrast()}), Chunked(reward=rows)
    scheduler, method = vp_scheduler(4, 1.0), NullTTA(particles=2, inner_min=1, inner_max=1)
    plain, under = (
        tta_core.align(["a", "b", "c"], backbone=GaussianMixture(), method=method, reward=reward, scheduler=scheduler, memory=memory)
        for memory in ((), chunks)
    )
    assert set(plain.trace[-1].parts) == {"bright", "contrast"}
    for expected, seen in zip(plain.trace, under.trace, strict=True):
        assert seen.scores == pytest.approx(expected.scores, abs=1e-5)
        assert seen.parts.keys() == expected.parts.keys()
        for name, scores in expected.parts.items():
            assert seen.parts[name] == pytest.approx(scores, abs=1e-5)


def test_a_reward_in_chunks_has_the_same_card_and_networks():
    for reward in (Brightness(), Minimum({"bright": Brightness()})):
        around = Chunked()(Setup(GaussianMixture(), vp_scheduler(2), reward, DATE())).reward
        assert isinstance(around, Mixed) == isinstance(reward, Mixed)
        assert (name_of(around), card_of(around), networks_of(around)) == (name_of(reward), card_of(reward), networks_of(reward))


def test_slicing_changes_only_the_decoder():
    _, decoded, judged = watched(VAESlicing())
    assert {shape[0] for shape in decoded} == {1}
    assert (3, 3) in judged


def test_only_look_aheads_inside_the_optimisation_use_the_other_decoder():
    _, decoded, _ = watched(LookAhead(0.5), method=NullTTA(particles=2, inner_min=1, inner_max=1))
    small, whole = (sum(shape[2:] == size and shape[0] > 1 for shape in decoded) for size in ((2, 2), (4, 4)))
    assert small == 4  # one inner step at each of four steps
    assert whole == 1 + 4 + 1  # the baseline; a selection at each step; the result


def test_a_look_ahead_of_scale_1_is_the_decoder_itself():
    x0 = torch.randn(2, 4, 4, 4)
    setup = Setup(GaussianMixture(), vp_scheduler(2), Likeness(), DATE())
    assert torch.equal(LookAhead(1.0)(setup).look_ahead(x0), setup.backbone.decode(x0))
    assert LookAhead(0.5)(setup).look_ahead(x0).shape == setup.backbone.decode(x0).shape


def test_a_fraction_replaces_and_a_window_multiplies():
    setup = Setup(GaussianMixture(), vp_scheduler(8), Likeness(), DATE(updates=Every(2)))
    steps = lambda under: [i for i in range(8) if under.method.updates(i, 8)]  # noqa: E731
    assert steps(UpdateFraction(0.25)(setup)) == [0, 4]
    assert steps(UpdateWindow(0.5, 1.0)(setup)) == [4, 6]
    assert steps(UpdateWindow(0.5, 1.0)(UpdateFraction(0.5)(setup))) == [4, 6]


@pytest.mark.parametrize("policy", [Chunked(decoder=3), LookAhead(0.5), UpdateFraction(0.3)], ids=repr)
def test_the_record_shows_the_policy_as_it_is_written(policy):
    run, _, _ = watched(policy)
    assert run.manifest["memory"] == [repr(policy)]
    assert eval(repr(policy), {type(policy).__name__: type(policy)}) == policy == evolve(policy)
