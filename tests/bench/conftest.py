"""A comparison on the embedded model that is small enough for every test."""

import pytest
from small_plans import planned


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A finished comparison: its plan and its folder. Tests do not change it."""
    from tta_plugins.bench.engines.here import Here
    from tta_plugins.bench.finish import finish
    from tta_plugins.bench.run import sample

    plan, folder = planned(), tmp_path_factory.mktemp("bench") / "run"
    sample(plan, folder, Here())
    finish(plan, folder)
    return plan, folder
