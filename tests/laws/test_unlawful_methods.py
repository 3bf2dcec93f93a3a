"""Each law of methods fails for a method that is made to break it."""

import attrs
import pytest
import torch
from breaking import assert_caught, laws_of

from tta_core import Needs, Snapshot, TextEmbedding
from tta_core.testing import MethodSuite
from tta_core.testing.problems import plain, problem_for
from tta_core.values.controls import AttentionEnergy
from tta_core.values.typing import frozen
from tta_plugins.methods.baselines import Fixed, RandomDirection


@frozen
class Method:
    """Plain sampling in two snapshots; each subclass breaks one law."""

    needs = Needs()

    def align(self, problem):
        last = self.changed(problem, plain(problem))
        yield attrs.evolve(last, index=0, total=2)
        yield attrs.evolve(last, index=1, total=2)

    def changed(self, problem, last):
        return last


class Loose:
    """Settings that can be overwritten."""

    needs = Needs()

    def align(self, problem):
        yield plain(problem)


class Endless(Method):
    def align(self, problem):
        yield attrs.evolve(plain(problem), index=0, total=5)


class Boasting(Method):
    def changed(self, problem, last):
        return attrs.evolve(last, scores=last.scores + 1)


class Unkeyed(Method):
    def changed(self, problem, last):
        return attrs.evolve(last, x0=last.x0 + 0.1 * torch.randn(last.x0.shape))


class Seedless(Method):
    def changed(self, problem, last):
        return attrs.evolve(last, x0=torch.zeros_like(last.x0))


class BatchNormed(Method):
    def changed(self, problem, last):
        return attrs.evolve(last, x0=last.x0 / last.x0.norm())


class Restless(Method):
    def changed(self, problem, last):
        return attrs.evolve(last, x0=last.x0 + 0.01)


class Unscored(Method):
    def align(self, problem):
        with torch.no_grad():
            x0 = problem.sample(problem.controls)
        yield Snapshot(0, 1, problem.controls, x0)


class Heedless(Method):
    """Declares that it needs a gradient, and neither checks this nor takes one."""

    needs = Needs(TextEmbedding(), gradient=True)


class Straying(Method):
    def changed(self, problem, last):
        moved = TextEmbedding().write(last.controls, (last.controls.text.tokens + 1,))
        return attrs.evolve(last, controls=moved)


class Scribbling(Method):
    def align(self, problem):
        problem.controls.noise.mul_(1.01)
        yield from super().align(problem)


class Particles(Method):
    def align(self, problem):
        last = plain(problem)
        yield Snapshot(0, 2, problem.controls, last.x0.repeat(3, 1, 1, 1))
        yield attrs.evolve(last, index=1, total=2)


class Reusing(Method):
    def align(self, problem):
        last = plain(problem)
        buffer = last.x0.clone()
        yield attrs.evolve(last, x0=buffer, index=0, total=2)
        buffer.add_(1)
        yield attrs.evolve(last, index=1, total=2)


class Leaking(Method):
    def changed(self, problem, last):
        return attrs.evolve(last, x0=last.x0.clone().requires_grad_())


class Gradless(Method):
    def align(self, problem):
        with torch.no_grad():
            yield from super().align(problem)


class Training(Method):
    def align(self, problem):
        for network in problem.backbone.networks.values():
            next(network.parameters()).data.add_(0.01)
        yield from super().align(problem)


class Rewinding(Method):
    """Samples twice."""

    def align(self, problem):
        plain(problem)
        yield from super().align(problem)


class Unnoised(Method):
    """Declares that it needs noise, and does not check this."""

    needs = Needs(eta=1.0, stochastic=True)


class Attentive(Method):
    """Changes attention, and does not declare it."""

    def align(self, problem):
        rows = torch.ones(len(problem.prompts))
        text = attrs.evolve(problem.controls.text, attention=AttentionEnergy(rows, rows))
        yield from super().align(attrs.evolve(problem, controls=attrs.evolve(problem.controls, text=text)))


class Blank(Method):
    """Declares that it edits an image, and does not check this."""

    needs = Needs(image=True)


class WorstOfTwo(Method):
    """Keeps the worse of two samples."""

    def changed(self, problem, last):
        noise = torch.stack([problem.noises(row, 1) for row in range(len(problem.steps) + 1)])
        other = plain(attrs.evolve(problem, controls=attrs.evolve(problem.controls, noise=noise)))
        x0 = torch.where((last.scores < other.scores).view(-1, 1, 1, 1), last.x0, other.x0)
        return problem.result(1, problem.controls, x0)


class NeverWorse(MethodSuite):
    never_worse = True


class Modest(MethodSuite):
    improves = False


BROKEN = {
    "test_settings_are_frozen_and_printed": Loose(),
    "test_snapshots_count_up_to_the_total": Endless(),
    "test_the_result_is_scored_as_it_says": Boasting(),
    "test_the_same_seed_gives_the_same_bits": Unkeyed(),
    "test_another_seed_gives_another_result": Seedless(),
    "test_a_batch_gives_what_each_sample_gives_alone": BatchNormed(),
    "test_a_constant_reward_changes_nothing": Restless(),
    "test_idle_is_plain_sampling": Restless(),
    "test_nan_scores_are_refused_by_name": Unscored(),
    "test_an_infinite_gradient_is_refused": Heedless(),
    "test_needs_gradient_is_declared_correctly": Heedless(),
    "test_needs_variable_is_declared_correctly": Straying(),
    "test_needs_moves_x0_is_declared_correctly": Restless(),
    "test_needs_moves_x_is_declared_correctly": Restless(),
    "test_needs_one_trajectory_is_declared_correctly": Rewinding(),
    "test_needs_of_the_sampler_are_declared_correctly": Unnoised(),
    "test_needs_image_is_declared_correctly": Blank(),
    "test_needs_attention_is_declared_correctly": Attentive(),
    "test_a_problem_is_left_as_it_was": Scribbling(),
    "test_stopping_anywhere_leaves_a_valid_result": Particles(),
    "test_snapshots_keep_their_numbers": Reusing(),
    "test_snapshots_hold_no_graph": Leaking(),
    "test_the_grad_mode_is_restored": Gradless(),
    "test_networks_are_left_as_they_were": Training(),
    "test_on_average_it_improves": WorstOfTwo(),
    "test_the_worst_is_plain_sampling": RandomDirection(rho=3.0),
}


def posed(suite, method, **changes):
    """A problem that is not checked beforehand, so that the method's own check raises the error."""
    return problem_for(Method(), **changes)


@pytest.mark.parametrize("law", laws_of(MethodSuite))
def test_the_law_catches(law):
    attributes = {"never_worse": True} | ({"problem_for": posed} if "image" in law else {})
    assert_caught(MethodSuite, law, {"method": BROKEN[law], "idle": BROKEN[law]}, attributes=attributes)


@pytest.mark.parametrize("law", [law for law in laws_of(MethodSuite) if "improves" not in law])
def test_the_base_class_of_these_methods_keeps_the_laws(law):
    suite = NeverWorse()
    subjects = {"method": Method(), "idle": Fixed()} if "idle" in law else {"method": Method()}
    getattr(suite, law)(**subjects)


@pytest.mark.parametrize(("suite", "law"), [(Modest, "test_on_average_it_improves"), (MethodSuite, "test_the_worst_is_plain_sampling")])
def test_laws_that_are_not_declared_are_skipped(suite, law):
    """A law that nothing could break with these flags is skipped and does not count as passed."""
    with pytest.raises(pytest.skip.Exception, match="declares"):
        getattr(suite(), law)(BROKEN[law])
