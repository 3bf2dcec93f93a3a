"""The suite of laws for methods, tried on the Gaussian mixture with a smooth score."""

from typing import Any

import attrs
import pytest
import torch

from tta_core.errors import NotFiniteError, RewardError
from tta_core.protocols.method import Method, Snapshot
from tta_core.running.align import align
from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.needs import NeedsLaws
from tta_core.testing.networked import NetworkedMixture
from tta_core.testing.problems import PROMPTS, Indifferent, Kinked, Likeness, Undefined, plain, solved
from tta_core.testing.tables import vp_scheduler
from tta_core.values.typing import evolve


class MethodSuite(NeedsLaws):
    """Inherit, and override the fixture `method` with a cheap method: it runs about fifty times. Override `problem_for` for a method that
    needs a problem that is not the Gaussian mixture's default: an image to start from, or another sampler.

    Attributes:
        follows_reward: with a constant reward the result is that of plain sampling. False for methods that change x for any reward.
        improves: on average over seeds the result scores above plain sampling.
        never_worse: no sample scores below plain sampling.
        tolerance: largest difference of clean latents between a batch and each sample alone, relative to the largest value if that is
            above 1.
        mixture: the backbone to which the law about networks adds networks; one that steers attention, if the method needs that.
    """

    follows_reward: bool = True
    improves: bool = True
    never_worse: bool = False
    tolerance: float = 1e-5
    mixture: GaussianMixture = GaussianMixture()

    @pytest.fixture
    def method(self) -> Method:
        """The method to test."""
        raise NotImplementedError("Override the fixture `method`.")

    @pytest.fixture
    def idle(self) -> Method:
        """The method with all its updates switched off: zero steps, zero lengths, one particle."""
        pytest.skip("The suite declares no idle form of the method; override the fixture `idle`.")

    def test_settings_are_frozen_and_printed(self, method: Method) -> None:
        """A method is a frozen value, and its repr, which a run's record contains, names every setting."""
        kind: Any = type(method)
        assert attrs.has(kind), "the method is not an attrs class, so two equal methods do not compare equal"
        for field in attrs.fields(kind):
            assert f"{field.name}=" in repr(method) or not field.init, f"repr leaves out {field.name}"
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(method, field.name, None)
        assert method == evolve(method), "the same settings give an unequal method"

    def test_the_same_seed_gives_the_same_bits(self, method: Method) -> None:
        """Two runs with one seed are equal bit for bit, for any state of torch's global generator."""
        torch.manual_seed(1)
        first = solved(method, self.problem_for(method, seed=7))
        torch.manual_seed(2)
        state = torch.get_rng_state()
        second = solved(method, self.problem_for(method, seed=7))
        assert torch.equal(first.x0, second.x0), "the same seed gave other latents"
        assert torch.equal(state, torch.get_rng_state()), "the global generator was used: noise is keyed by (seed, sample, step)"

    def test_another_seed_gives_another_result(self, method: Method) -> None:
        """Two seeds give different results."""
        first, second = self.recorded(method).last, solved(method, self.problem_for(method, seed=1))
        assert not torch.allclose(first.x0, second.x0), "two seeds gave the same result"

    def test_a_batch_gives_what_each_sample_gives_alone(self, method: Method) -> None:
        """Three prompts together give the same results as each alone: norms, clipping and noises are per sample."""
        prompts, seeds = (*PROMPTS, PROMPTS[0]), (3, 4, 5)
        together = solved(method, self.problem_for(method, prompts=prompts, seed=seeds)).x0
        for row, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            alone = solved(method, self.problem_for(method, prompts=[prompt], seed=[seed])).x0[0]
            difference = (together[row] - alone).abs().max().item()
            assert difference <= self.tolerance * max(1.0, alone.abs().max().item()), (
                f"sample {row} differs by {difference:.2g} from the same sample alone"
            )

    def test_a_constant_reward_changes_nothing(self, method: Method) -> None:
        """If all images have the same score, the result is that of plain sampling, and nothing is raised."""
        problem = evolve(self.problem_for(method), reward=Indifferent())
        last = solved(method, problem)
        if self.follows_reward:
            torch.testing.assert_close(last.x0, plain(problem).x0, atol=1e-5, rtol=1e-5, msg="a constant reward moved the sample")
        assert torch.isfinite(last.x0).all(), "a constant reward gave latents that are not finite"

    def test_idle_is_plain_sampling(self, method: Method, idle: Method) -> None:
        """Without updates a method is plain sampling, bit for bit."""
        problem = self.problem_for(idle)
        assert torch.equal(solved(idle, problem).x0, plain(problem).x0), "switched off, it still moves the sample"

    def test_nan_scores_are_refused_by_name(self, method: Method) -> None:
        """A reward that gives NaN ends the run with an error that names the reward; no value is skipped or replaced."""
        problem = evolve(self.problem_for(method), reward=Undefined())
        with pytest.raises(RewardError, match="Undefined"):
            solved(method, problem)

    def test_an_infinite_gradient_is_refused(self, method: Method) -> None:
        """A method that follows the gradient refuses one that is not finite; any other method does not use it."""
        problem = self.problem_for(method, reward=Kinked())
        if method.needs.gradient:
            with pytest.raises(NotFiniteError, match="Kinked"):
                solved(method, problem)
        else:
            assert torch.isfinite(solved(method, problem).x0).all(), "a gradient that it does not need changed the result"

    def test_a_problem_is_left_as_it_was(self, method: Method) -> None:
        """After a run the problem's controls have their old numbers, and the problem can be solved again."""
        run = self.recorded(method)
        assert all(map(torch.equal, run.before, run.problem.controls.leaves)), "the run changed the problem's own controls"

    def test_networks_are_left_as_they_were(self, method: Method) -> None:
        """After a run the user's networks have their old weights, flags and training mode, and no gradients."""
        backbone = NetworkedMixture(self.mixture)
        modules = torch.nn.ModuleList(backbone.networks.values())
        before = [(parameter.clone(), parameter.requires_grad) for parameter in modules.parameters()]
        align(PROMPTS, backbone=backbone, method=method, reward=Likeness(), scheduler=vp_scheduler(3, method.needs.eta))
        for (old, required), parameter in zip(before, modules.parameters(), strict=True):
            assert torch.equal(old, parameter), "a run changed the weights"
            assert parameter.requires_grad == required, "a run changed requires_grad"
            assert parameter.grad is None, "a run left gradients in the weights"
        assert all(module.training for module in modules.modules()), "a run left evaluation mode on"

    def test_on_average_it_improves(self, method: Method) -> None:
        """Over eight seeds the mean score is above that of plain sampling, if the method declares it."""
        if not self.improves:
            pytest.skip("The suite declares improves = False: the method does not promise to beat plain sampling.")
        problem = self.problem_for(method, prompts=PROMPTS * 4, seed=range(8))
        gain = _scores(solved(method, problem)).mean() - _scores(plain(problem)).mean()
        assert gain > 0, f"the mean score fell by {-gain:.3g}"

    def test_the_worst_is_plain_sampling(self, method: Method) -> None:
        """A method that declares it never gives a sample a lower score than plain sampling does."""
        if not self.never_worse:
            pytest.skip("The suite declares never_worse = False: the method may lower a sample's score.")
        problem = self.problem_for(method, prompts=PROMPTS * 4, seed=range(8))
        before = _scores(plain(problem))
        loss = (before - _scores(solved(method, problem))).max()
        assert loss <= 1e-5 * (1 + before.abs().max()), f"a sample lost {loss:.3g}"


def _scores(snapshot: Snapshot) -> torch.Tensor:
    assert snapshot.scores is not None, "the result has no scores"
    return snapshot.scores
