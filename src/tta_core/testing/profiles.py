"""Hypothesis profiles, and `drawn`, by which a law asks for random subjects.

`fast` draws a few examples, the same ones each time, and reports a failing one as it is; `thorough` draws 200 fresh ones and shrinks.
Choose with `--hypothesis-profile=thorough`, after `pytest_plugins = ["tta_core.testing.profiles"]` in your conftest.
"""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

Law = TypeVar("Law", bound=Callable[..., None])

# A suite's subject comes from a fixture and is the same for every example: laws never change it.
_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow]

settings.register_profile(
    "fast",
    max_examples=6,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=_CHECKS,
)
settings.register_profile("thorough", max_examples=200, deadline=None, report_multiple_bugs=False, suppress_health_check=_CHECKS)


def drawn(**strategies: SearchStrategy[object]) -> Callable[[Law], Law]:
    """A law over random draws, beside whatever fixtures it takes; how many is the profile's affair."""

    def decorate(law: Law) -> Law:
        return settings(deadline=None, suppress_health_check=_CHECKS)(given(**strategies)(law))  # type: ignore[return-value]

    return decorate
