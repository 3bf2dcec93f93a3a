"""Hypothesis profiles, and the decorator `drawn`, which gives a law random examples.

`fast` uses a few examples, the same each time, and reports a failing one without shrinking; `thorough` uses 200 new ones and shrinks.
Choose with `--hypothesis-profile=thorough`, after `pytest_plugins = ["tta_core.testing.profiles"]` in your conftest.
"""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

Law = TypeVar("Law", bound=Callable[..., None])

# The tested object comes from a fixture and is the same for every example: laws never change it.
_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow]

settings.register_profile(
    "fast",
    max_examples=4,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=_CHECKS,
)
settings.register_profile("thorough", max_examples=200, deadline=None, report_multiple_bugs=False, suppress_health_check=_CHECKS)


def drawn(**strategies: SearchStrategy[object]) -> Callable[[Law], Law]:
    """Makes a law a test over random examples, besides its fixtures; the profile sets the number of examples."""

    def decorate(law: Law) -> Law:
        return settings(deadline=None, suppress_health_check=_CHECKS)(given(**strategies)(law))  # type: ignore[return-value]

    return decorate
