"""A comparison on the embedded model that is small enough for every test."""

import pytest
from small_plans import planned


@pytest.fixture
def plan():
    return planned()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A finished comparison: its plan and its folder, which tests only read."""
    from tta_plugins.bench.engines.here import Here
    from tta_plugins.bench.finish import finish
    from tta_plugins.bench.run import draw

    plan, folder = planned(), tmp_path_factory.mktemp("bench") / "run"
    draw(plan, folder, Here())
    finish(plan, folder)
    return plan, folder


@pytest.fixture(autouse=True, scope="session")
def _priced_once():
    """Pricing is the dearest part of so small a run: each kind of method is priced once in the session, for real."""
    from tta_plugins.bench import draw

    price, known = draw._prices, {}

    def remembered(prepared):
        key = repr((prepared.method.needs.variable, prepared.problem.reward))
        if key not in known:
            known[key] = price(prepared)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "_prices", remembered)
        yield
