"""The suite of laws for methods, without what it would try again for each form of a method."""

from tta_core.testing import MethodSuite


class LawfulMethod(MethodSuite):
    """The law of the idle form does not use the method, so it is tried once with each idle form instead of once with each pair."""

    def test_idle_is_plain_sampling(self, idle):
        super().test_idle_is_plain_sampling(idle, idle)
