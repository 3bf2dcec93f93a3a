"""Every method that changes x keeps the laws of methods, in each of its forms."""

import pytest
from lawful_method import LawfulMethod

from tta_core.solving.estimators import Hybrid1, Hybrid2, ZerothOrder
from tta_core.solving.steering import SGD
from tta_core.values.schedules import Constant
from tta_plugins.methods.dps import DPS
from tta_plugins.methods.freedom import FreeDoM
from tta_plugins.methods.lgd import LGD
from tta_plugins.methods.mpgd import MPGD
from tta_plugins.methods.strength import Damped, Decreasing, Increasing
from tta_plugins.methods.tfg import TFG
from tta_plugins.methods.universal_guidance import UniversalGuidance

ONCE = {
    "universal, damped": UniversalGuidance(Damped(20.0)),
    "universal, both parts": UniversalGuidance(5.0, backward_steps=1, optimizer=SGD(5.0), start="guided"),
    "universal, null branch alone": UniversalGuidance(20.0, branch="null"),
    "freedom, relative": FreeDoM(0.2, "guidance"),
    "dps": DPS(0.5, "norm"),
    "lgd": LGD(5.0, samples=2),
    "mpgd, recomputed": MPGD(Decreasing(10.0), noise="recomputed"),
    "tfg": TFG(Increasing(2.0), Increasing(2.0), iterations=1),
}
IDLE = {
    "universal": UniversalGuidance(0.0),
    "universal, no updates": UniversalGuidance(backward_steps=1, updates=Constant(0.0)),
    "freedom": FreeDoM(0.0),
    "dps": DPS(0.0),
    "lgd": LGD(0.0),
    "mpgd": MPGD(0.0),
    "tfg": TFG(0.0, 0.0),
}


class TestGuidance(LawfulMethod):
    @pytest.fixture(params=ONCE.values(), ids=ONCE)
    def method(self, request):
        return request.param

    @pytest.fixture(params=IDLE.values(), ids=IDLE)
    def idle(self, request):
        return request.param


REPEATED = {
    "universal": UniversalGuidance(100.0, repetitions=2),
    "freedom": FreeDoM(Increasing(50.0), repetitions=2),
}


class TestRepeated(LawfulMethod):
    """A repeated step is another sample of the same distribution, whatever the reward is, so a mean over eight seeds may be lower."""

    follows_reward = improves = False

    @pytest.fixture(params=REPEATED.values(), ids=REPEATED)
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return FreeDoM(0.0, repetitions=2, travel=Constant(0.0))


ESTIMATED = {
    "universal, hybrid 1": UniversalGuidance(20.0, estimator=Hybrid1()),
    "mpgd, hybrid 2": MPGD(0.5, estimator=Hybrid2(directions=8)),
    "lgd, zeroth order": LGD(5.0, samples=2, estimator=ZerothOrder(directions=8)),
}


class TestEstimated(LawfulMethod):
    """Estimates divide differences by mu, and the rounding errors of float32 with them."""

    tolerance = 1e-3

    @pytest.fixture(params=ESTIMATED.values(), ids=ESTIMATED)
    def method(self, request):
        return request.param

    @pytest.fixture
    def idle(self):
        return UniversalGuidance(0.0, estimator=ZerothOrder())
