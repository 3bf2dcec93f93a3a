"""Methods that choose among particles and noises keep the laws."""

import pytest
from lawful_method import LawfulMethod

from tta_core.solving.estimators import ZerothOrder
from tta_core.solving.steering import SGD
from tta_core.testing.problems import plain, problem_for, solved
from tta_core.values.schedules import Constant, Every
from tta_plugins.methods.das import DAS
from tta_plugins.methods.fk import FK
from tta_plugins.methods.line_search import LBFGS
from tta_plugins.methods.noise_search import NoiseSearch
from tta_plugins.methods.path_search import PathSearch
from tta_plugins.methods.rbf import RBF
from tta_plugins.methods.reno import ReNO
from tta_plugins.methods.svdd import SVDD

DASES = {
    "paper": DAS(3, alpha=0.05, tempering=Constant(1.0)),
    "prior, adaptive": DAS(3, alpha=0.05, proposal="prior", tempering=Constant(0.1), adaptive=0.8, resampling="systematic"),
    "late, released": DAS(3, alpha=0.05, tempering=Constant(1.0), start=2, threshold=0.9, lineage="released"),
}


class TestDAS(LawfulMethod):
    @pytest.fixture(params=DASES.values(), ids=DASES)
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return DAS(1, tempering=Constant(0.0))


FKS = {
    "paper": FK(3, 50.0, updates=Every(2), resampling="systematic"),
    "diff, adaptive": FK(3, 50.0, "diff", Every(), 0.5, resampling="ssp"),
    "add, by weight": FK(3, 5.0, "add", Every(2), 0.5, resampling="systematic", choose="weight"),
}


class TestFK(LawfulMethod):
    @pytest.fixture(params=FKS.values(), ids=FKS)
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return FK(1)


class TestSVDD(LawfulMethod):
    @pytest.fixture
    def method(self):
        return SVDD(3, selection="argmax")

    @pytest.fixture
    def idle(self):
        return SVDD(1)


class TestSVDDByDraw(LawfulMethod):
    """A random choice among equal children is not plain sampling."""

    follows_reward = False

    @pytest.fixture
    def method(self):
        return SVDD(4, alpha=0.01)

    @pytest.fixture
    def idle(self):
        return SVDD(1)


class TestRBF(LawfulMethod):
    @pytest.fixture
    def method(self):
        return RBF(evaluations=26, chains=2, starts=2)


RENOS = {
    "paper": ReNO(4),
    "norm": ReNO(4, regularisation=0.0, project="norm", optimizer=SGD(1.0)),
    "white": ReNO(4, regularisation=0.0, project="white", optimizer=SGD(1.0)),
}


class TestReNO(LawfulMethod):
    """The regulariser changes the noise whatever the reward is, but among equal iterates the first one is the result."""

    never_worse = True

    @pytest.fixture(params=RENOS.values(), ids=RENOS)
    def method(self, request):
        return request.param

    @pytest.fixture(params=[ReNO(1), ReNO(3, optimizer=SGD(0.0))], ids=["one iteration", "lr 0"])
    def idle(self, request):
        return request.param


def test_a_line_search_raises_the_reward_of_each_prompt_separately():
    method = ReNO(2, optimizer=LBFGS(2))
    problem = problem_for(method, steps=1, seed=(0, 1))
    together = solved(method, problem)
    assert (together.scores > plain(problem).scores).all()
    assert problem.ledger.counts["reward"] > 2 * 2, "no line search was made"
    for prompt, seed, x0 in zip(problem.prompts, (0, 1), together.x0, strict=True):
        single = solved(method, problem_for(method, steps=1, prompts=(prompt,), seed=(seed,)))
        assert (single.x0[0] - x0).abs().max() < 1e-4


class TestReNOWithoutGradient(LawfulMethod):
    never_worse, tolerance = True, 1e-3

    @pytest.fixture
    def method(self):
        return ReNO(3, regularisation=0.0, estimator=ZerothOrder(directions=8))


SEARCHES = {"random": NoiseSearch("random", 2), "zero-order": NoiseSearch("zero-order", 2, 2)}


class TestNoiseSearch(LawfulMethod):
    never_worse = True

    @pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return NoiseSearch(rounds=0)


class TestPathSearch(LawfulMethod):
    """It adds noise to earlier levels whatever the reward is."""

    follows_reward = False

    @pytest.fixture
    def method(self):
        return PathSearch(2, 3, start=2, back=1, forward=2)
