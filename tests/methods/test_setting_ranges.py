"""A setting outside its range is refused where it is made, by its name."""

import math
from functools import partial

import pytest

from tta_core.errors import InputError
from tta_core.solving.estimators import Hybrid1, Hybrid2, ZerothOrder
from tta_core.solving.steering import SGD, Adam, AdamW
from tta_plugins.methods.baselines import BestOfN, RandomDirection
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA

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
    (NullTTA, "reward_weight", -1.0),
    (NullTTA, "penalty_weight", -1.0),
    (NullTTA, "kl_budget", 0.0),
    (NullTTA, "variance", 0.0),
    (NullTTA, "pooled_variance", 0.0),
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
NOT_NUMBERS = [
    (partial(cls, **{name: value}), f"{cls.__name__}.{name} is {value}")
    for cls, name in [(kind, name) for kind, name, bad in TOO_SMALL if isinstance(bad, float)]
    for value in (math.nan, math.inf)
]


@pytest.mark.parametrize(("make", "name", "value"), TOO_SMALL, ids=lambda part: getattr(part, "__name__", str(part)))
def test_a_number_outside_its_range_is_refused(make, name, value):
    with pytest.raises(InputError, match=rf"{make.__name__}\.{name} is .*: give "):
        make(**{name: value})


@pytest.mark.parametrize(("make", "said"), NOT_NUMBERS, ids=lambda part: part if isinstance(part, str) else "")
def test_what_is_not_finite_is_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
