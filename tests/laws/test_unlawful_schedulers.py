"""Each law of samplers fails for a sampler that is made to break it."""

import attrs
import pytest
import torch
from breaking import assert_caught, laws_of

from tta_core import GaussianTransition, Prediction, State
from tta_core.testing import SchedulerSuite, vp_scheduler


class Sampler:
    """A variance-preserving ancestral sampler; each subclass breaks one law."""

    def __init__(self, inner=None):
        self.inner = inner or vp_scheduler(10, 1.0)
        self.steps, self.initial_std = self.inner.steps, self.inner.initial_std

    def predict(self, state, output, step):
        return self.inner.predict(state, output, step)

    def believe(self, state, x0, step):
        return self.inner.believe(state, x0, step)


class Backwards(Sampler):
    def __init__(self):
        super().__init__()
        self.steps = self.steps[::-1]


class Remembering(Sampler):
    last = 0.0

    def predict(self, state, output, step):
        prediction = super().predict(state, output, step)
        self.last, before = prediction.x0.mean().item(), self.last
        return attrs.evolve(prediction, x0=prediction.x0 + 0.1 * before)


class LoudNoise(Sampler):
    def predict(self, state, output, step):
        prediction = super().predict(state, output, step)
        return attrs.evolve(prediction, eps=2 * prediction.eps)


class Wider(Sampler):
    def predict(self, state, output, step):
        prediction = super().predict(state, output, step)
        mean, std = prediction.transition.mean, prediction.transition.std
        return attrs.evolve(prediction, transition=GaussianTransition(mean, 1.2 * std))


class Shifted(Sampler):
    def predict(self, state, output, step):
        prediction = super().predict(state, output, step)
        return attrs.evolve(prediction, transition=GaussianTransition(prediction.transition.mean + 0.1, prediction.transition.std))


class Shrunk(Sampler):
    def predict(self, state, output, step):
        prediction = super().predict(state, output, step)
        return attrs.evolve(prediction, transition=GaussianTransition(0.97 * prediction.transition.mean, prediction.transition.std))


class Averaging(Sampler):
    def predict(self, state, output, step):
        return super().predict(state, output - output.mean(0), step)


class BMajor(Prediction):
    def branch(self, noises):
        children = super().branch(noises)
        rows = torch.arange(len(children.x)).view(noises.shape[0], -1).T.flatten()
        return children[rows]


class Interleaving(Sampler):
    def predict(self, state, output, step):
        prediction = super().predict(state, output, step)
        return BMajor(prediction.x0, prediction.eps, prediction.transition, prediction.history)


class Cut(Sampler):
    def predict(self, state, output, step):
        return super().predict(state, output.detach(), step)


BROKEN = {
    "test_the_table_leads_from_noise_to_an_image": Backwards(),
    "test_calling_twice_gives_the_same": Remembering(),
    "test_x_is_made_of_x0_and_eps": LoudNoise(),
    "test_tweedie_is_the_posterior_mean": Sampler(vp_scheduler(10, 1.0, "v_prediction")),
    "test_transitions_keep_the_marginals": Wider(),
    "test_stochastic_is_declared_correctly": Sampler(vp_scheduler(10, 0.0)),
    "test_clean_latents_are_the_estimate": Shifted(),
    "test_rows_do_not_mix": Averaging(),
    "test_children_carry_their_history": Interleaving(),
    "test_gradients_pass": Cut(),
    "test_one_gaussian_is_sampled_as_its_table_says": Shrunk(),
}


@pytest.mark.parametrize("law", laws_of(SchedulerSuite))
def test_the_law_catches(law):
    assert_caught(SchedulerSuite, law, {"scheduler": BROKEN[law]}, attributes={"stochastic": True})


def test_the_base_class_of_these_samplers_keeps_the_laws():
    suite = type("Lawful", (SchedulerSuite,), {"stochastic": True})()
    for law in laws_of(SchedulerSuite):
        getattr(suite, law)(scheduler=Sampler())
    assert Sampler().predict(State(torch.zeros(1, 4, 4, 4)), torch.zeros(1, 4, 4, 4), Sampler().steps[0]).transition.std > 0
