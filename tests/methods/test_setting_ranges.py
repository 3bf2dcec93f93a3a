"""A setting outside its range is refused at construction, by its name."""

import math
from functools import partial

import pytest

from tta_core.errors import InputError
from tta_core.solving.estimators import Hybrid1, Hybrid2, ZerothOrder
from tta_core.solving.steering import SGD, Adam, AdamW
from tta_plugins.editing.null_text import NullTextInversion
from tta_plugins.methods.baselines import BestOfN, RandomDirection
from tta_plugins.methods.das import DAS
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.dps import DPS
from tta_plugins.methods.fk import FK
from tta_plugins.methods.freedom import FreeDoM
from tta_plugins.methods.lgd import LGD
from tta_plugins.methods.mpgd import MPGD
from tta_plugins.methods.noise_search import NoiseSearch
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.methods.path_search import PathSearch
from tta_plugins.methods.rbf import RBF
from tta_plugins.methods.reno import ReNO
from tta_plugins.methods.strength import Damped, Decreasing, Increasing
from tta_plugins.methods.svdd import SVDD
from tta_plugins.methods.tfg import TFG
from tta_plugins.methods.universal_guidance import UniversalGuidance

TOO_SMALL = [
    (DATE, "rho", -0.1),
    (DATE, "iterations", 0),
    (DATE, "prior", -1.0),
    (RandomDirection, "rho", -0.1),
    (BestOfN, "n", 0),
    (DNO, "iterations", -1),
    (DNO, "regularisation", -1.0),
    (DNO, "opt_steps", 0),
    (DNO, "clip", 0.0),
    (DNO, "shuffles", 0),
    (DNO, "subsample", -1),
    (NullTTA, "particles", 0),
    (NullTTA, "inner_min", -1),
    (NullTTA, "inner_max", 4),
    (NullTTA, "rate", -0.1),
    (NullTTA, "stop_gain", 1.5),
    (NullTTA, "reward_weight", -1.0),
    (NullTTA, "penalty_weight", -1.0),
    (NullTTA, "kl_budget", 0.0),
    (NullTTA, "variance", 0.0),
    (NullTTA, "pooled_variance", 0.0),
    (UniversalGuidance, "repetitions", 0),
    (UniversalGuidance, "backward_steps", -1),
    (FreeDoM, "repetitions", 0),
    (DPS, "smallest", 0.0),
    (LGD, "samples", 0),
    (LGD, "weight", 0.0),
    (LGD, "radius", -1.0),
    (MPGD, "repetitions", 0),
    (TFG, "sigma", -0.1),
    (TFG, "samples", 0),
    (TFG, "iterations", -1),
    (TFG, "repetitions", 0),
    (TFG, "weight", 0.0),
    (Increasing, "strength", -1.0),
    (Decreasing, "strength", -1.0),
    (Damped, "strength", -1.0),
    (Damped, "variance", 0.0),
    (DAS, "particles", 0),
    (DAS, "alpha", 0.0),
    (DAS, "adaptive", 0.0),
    (DAS, "start", -1),
    (DAS, "threshold", -0.1),
    (FK, "particles", 0),
    (FK, "strength", -1.0),
    (FK, "threshold", 0.0),
    (SVDD, "children", 0),
    (SVDD, "alpha", 0.0),
    (RBF, "evaluations", 0),
    (RBF, "chains", 0),
    (RBF, "starts", 0),
    (ReNO, "iterations", 0),
    (ReNO, "regularisation", -1.0),
    (ReNO, "clip", 0.0),
    (ReNO, "stop_at", -1e31),
    (NoiseSearch, "rounds", -1),
    (NoiseSearch, "neighbours", 0),
    (NoiseSearch, "similarity", -1.1),
    (PathSearch, "paths", 0),
    (PathSearch, "children", 0),
    (PathSearch, "start", 0),
    (PathSearch, "back", 0),
    (PathSearch, "forward", 1),
    (NullTextInversion, "inner", 0),
    (NullTextInversion, "lr", -0.1),
    (NullTextInversion, "tolerance", -0.1),
    (ZerothOrder, "mu", 0.0),
    (ZerothOrder, "directions", 0),
    (Hybrid1, "mu", -1.0),
    (Hybrid2, "directions", -1),
    (Adam, "lr", -0.1),
    (Adam, "betas", (0.9, 1.0)),
    (AdamW, "lr", -0.1),
    (AdamW, "weight_decay", -0.1),
    (SGD, "lr", -0.1),
    (SGD, "momentum", -0.1),
]
NEEDED = {Damped: {"strength": 1.0}}
NOT_NUMBERS = [
    (partial(cls, **{**NEEDED.get(cls, {}), name: value}), f"{cls.__name__}.{name} is {value}")
    for cls, name in [(kind, name) for kind, name, bad in TOO_SMALL if isinstance(bad, float)]
    for value in (math.nan, math.inf)
]


@pytest.mark.parametrize(("make", "name", "value"), TOO_SMALL, ids=lambda part: getattr(part, "__name__", str(part)))
def test_a_number_outside_its_range_is_refused(make, name, value):
    with pytest.raises(InputError, match=rf"{make.__name__}\.{name} is .*: give "):
        make(**{**NEEDED.get(make, {}), name: value})


@pytest.mark.parametrize(("make", "said"), NOT_NUMBERS, ids=lambda part: part if isinstance(part, str) else "")
def test_values_that_are_not_finite_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
