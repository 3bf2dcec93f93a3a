"""Testing: suites that plugin authors inherit, hypothesis strategies, and a backbone with exact solutions.

Names are imported when first used, so that hypothesis profiles can be chosen before any law is made.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tta_core.testing.backbones import BackboneSuite as BackboneSuite
    from tta_core.testing.methods import MethodSuite as MethodSuite
    from tta_core.testing.mixture import GaussianMixture as GaussianMixture
    from tta_core.testing.networked import NetworkedMixture as NetworkedMixture
    from tta_core.testing.policies import MemoryPolicySuite as MemoryPolicySuite
    from tta_core.testing.problems import problem_for as problem_for
    from tta_core.testing.rewards import RewardSuite as RewardSuite
    from tta_core.testing.schedulers import SchedulerSuite as SchedulerSuite
    from tta_core.testing.tables import flow_scheduler as flow_scheduler
    from tta_core.testing.tables import ve_scheduler as ve_scheduler
    from tta_core.testing.tables import vp_scheduler as vp_scheduler
    from tta_core.testing.variables import VariableSuite as VariableSuite

_HOMES = {
    "backbones": "BackboneSuite",
    "methods": "MethodSuite",
    "mixture": "GaussianMixture",
    "networked": "NetworkedMixture",
    "policies": "MemoryPolicySuite",
    "problems": "problem_for",
    "rewards": "RewardSuite",
    "schedulers": "SchedulerSuite",
    "tables": "flow_scheduler ve_scheduler vp_scheduler",
    "variables": "VariableSuite",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'tta_core.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tta_core.testing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
