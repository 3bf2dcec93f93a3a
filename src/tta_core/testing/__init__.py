"""Published for plugin authors: suites to inherit, hypothesis strategies, and an exactly solvable backbone."""

from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.tables import flow_scheduler, ve_scheduler, vp_scheduler

__all__ = ["GaussianMixture", "flow_scheduler", "ve_scheduler", "vp_scheduler"]
