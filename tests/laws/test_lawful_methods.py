"""Every method of the package keeps the laws. A new one needs an entry here: its small form, its idle forms, and what it declares."""

import pytest
from lawful_method import LawfulMethod

from tta_core.protocols.variables import NullEmbedding, TextEmbedding
from tta_core.solving.estimators import Hybrid1, Hybrid2, ZerothOrder
from tta_core.solving.steering import Adam, AdamW
from tta_core.values.schedules import Constant, Every
from tta_plugins.methods.baselines import BestOfN, Fixed, RandomDirection
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA


class TestFixed(LawfulMethod):
    improves = False

    @pytest.fixture
    def method(self):
        return Fixed()

    @pytest.fixture
    def idle(self):
        return Fixed()


class TestRandomDirection(LawfulMethod):
    follows_reward = improves = False

    @pytest.fixture
    def method(self):
        return RandomDirection(updates=Every(2))

    @pytest.fixture(params=[RandomDirection(rho=0.0), RandomDirection(updates=Constant(0.0))], ids=["rho 0", "no updates"])
    def idle(self, request):
        return request.param


class TestBestOfN(LawfulMethod):
    never_worse = True

    @pytest.fixture
    def method(self):
        return BestOfN(3)

    @pytest.fixture
    def idle(self):
        return BestOfN(1)


DATES = {
    "paper": DATE(updates=Every(2)),
    "released": DATE.released(),
    "original start, two iterations": DATE(updates=Every(2), start="original", iterations=2, prior=0.1),
    "relative, unnormalised": DATE(updates=Every(2), relative=True, normalise=False, rho=0.2),
    "noisy look": DATE(updates=Every(2), look="noisy"),
    "null embedding": DATE(updates=Every(2), variable=NullEmbedding()),
    "product": DATE(updates=Every(2), variable=NullEmbedding() & TextEmbedding()),
}


class TestDATE(LawfulMethod):
    @pytest.fixture(params=DATES.values(), ids=DATES)
    def method(self, request):
        return request.param

    @pytest.fixture(params=[DATE(rho=0.0), DATE(updates=Constant(0.0))], ids=["rho 0", "no updates"])
    def idle(self, request):
        return request.param


NULLS = {
    "paper": NullTTA(inner_min=1, inner_max=2, rate=0.5, reward_weight=1.0),
    "released": NullTTA(inner_min=1, inner_max=2, reward_weight=1.0, guidance_factor="released"),
    "sampler's kernel": NullTTA(particles=2, inner_min=2, inner_max=2, kernel="sampler", reward_weight=1.0),
    "budget": NullTTA(particles=1, inner_min=2, inner_max=2, kl_budget=0.5),
    "text embedding, diminishing": NullTTA(inner_min=3, inner_max=3, reward_weight=1.0, variable=TextEmbedding(), stop_gain=0.5),
}


class TestNullTTA(LawfulMethod):
    @pytest.fixture(params=NULLS.values(), ids=NULLS)
    def method(self, request):
        return request.param

    @pytest.fixture(
        params=[NullTTA(1, 0, 0), NullTTA(1, 1, 1, optimizer=Adam(lr=0.0)), NullTTA(1, 1, 1, reward_weight=0.0)],
        ids=["no inner steps", "lr 0", "reward weight 0"],
    )
    def idle(self, request):
        return request.param


DNOS = {
    "paper": DNO(3, shuffles=5),
    "released": DNO(3, shuffles=5, eta=DNO.released().eta, clamp=False),
    "ODE": DNO(3, shuffles=5, eta=0.0),
    "last steps": DNO(3, shuffles=5, opt_steps=2),
    "last steps, zeroth order": DNO(3, regularisation=0.0, opt_steps=2, estimator=ZerothOrder(directions=8)),
    "unregularised, white": DNO(3, regularisation=0.0, project="white"),
}


class TestDNO(LawfulMethod):
    never_worse = True

    @pytest.fixture(params=DNOS.values(), ids=DNOS)
    def method(self, request):
        return request.param

    @pytest.fixture(params=[DNO(0), DNO(2, shuffles=5, optimizer=AdamW(lr=0.0))], ids=["no iterations", "lr 0"])
    def idle(self, request):
        return request.param


ESTIMATED = {
    "DATE, zeroth order": DATE(updates=Every(2), estimator=ZerothOrder(directions=8)),
    "DATE, hybrid 1": DATE(updates=Every(2), estimator=Hybrid1()),
    "DATE, hybrid 2": DATE(updates=Every(2), estimator=Hybrid2(directions=8)),
    "DNO, zeroth order": DNO(3, regularisation=0.0, estimator=ZerothOrder(directions=8)),
    "DNO, hybrid 2": DNO(3, regularisation=0.0, estimator=Hybrid2(directions=8)),
}


class TestEstimated(LawfulMethod):
    """Estimates divide differences by mu, and the rounding errors of float32 with them."""

    tolerance = 1e-3

    @pytest.fixture(params=ESTIMATED.values(), ids=ESTIMATED)
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return DATE(rho=0.0, estimator=ZerothOrder())


class TestEstimatedWithPenalty(LawfulMethod):
    """The zeroth-order estimate of a penalty's gradient is not zero at the penalty's own minimum, so a constant reward changes the result a
    little."""

    tolerance = 1e-3
    follows_reward = False

    @pytest.fixture
    def method(self):
        return NullTTA(inner_min=2, inner_max=2, reward_weight=1.0, estimator=ZerothOrder(directions=8))

    @pytest.fixture
    def idle(self):
        return NullTTA(1, 0, 0, estimator=ZerothOrder())
