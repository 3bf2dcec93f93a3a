"""EBCA keeps the laws of methods, on a mixture whose branches use attention."""

import pytest

from tta_core.testing import GaussianMixture, MethodSuite
from tta_core.testing.problems import problem_for
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.ebca import EBCA


@frozen
class Attentive(GaussianMixture):
    """A mixture whose tokens grow with the weights of the energy."""

    steers_attention = True

    def predict(self, x, step, embedding):
        energy = embedding.attention
        if energy is None:
            return super().predict(x, step, embedding)
        factor = 1 + energy.attention - energy.norm
        return super().predict(x, step, evolve(embedding, tokens=embedding.tokens * factor[:, None, None], attention=None))


class TestEBCA(MethodSuite):
    """EBCA does not follow the reward."""

    follows_reward = improves = False
    mixture = Attentive()

    def problem_for(self, method, **changes):
        return problem_for(method, **{"backbone": self.mixture} | changes)

    @pytest.fixture(params=[EBCA(0.3, 0.1), EBCA(0.3, 0.1, tokens={1: 2.0})], ids=["plain", "a factor"])
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return EBCA(0.0, 0.0)
