"""Wrong values of every argument, in random combinations: each run ends with a result or with an error of one sentence."""

import math

import attrs
import jaxtyping
import numpy as np
import pytest
import torch
from faulty import brightness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tta_core as tta
from tta_core.errors import InputError, TTAError
from tta_core.solving import steering
from tta_core.solving.estimators import Hybrid1, ZerothOrder
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.values.schedules import Every, Fraction, Geometric, Window
from tta_plugins.methods.baselines import BestOfN, Fixed, RandomDirection
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


class Shapeless:
    """An object that is not a number, and whose length raises."""

    def __len__(self):
        raise RuntimeError("no length")

    def __float__(self):
        raise RuntimeError("no number")


WRONG = (
    10**400, -(10**400), math.nan, math.inf, -math.inf, -1, 0, 1e30, 1e-30, True, None, "", "text", b"bytes", (), [], {}, [None], [5],
    ["a", 3],
    np.array([1.0, 2.0]), np.array(3), np.array("x"), torch.tensor([1.0, 2.0]), torch.tensor(2.5), torch.tensor(2j),
    torch.zeros(2, 2).to_sparse(),
    torch.zeros(2, device="meta"), object(), object, int, len, lambda: None, lambda a, b, c: None, Unprintable(), Shapeless(),
    {"a": 1}, range(3),
    iter("ab"), complex(1, 1), DATE, DATE(), Every(1), Window(0.5, 1.0), GaussianMixture, slice(1), float, 2**63, 1.5,
)  # fmt: skip
KEYWORDS = (
    "prompts", "backbone", "method", "reward", "memory", "scheduler", "steps", "timesteps", "sigmas", "guidance", "eta", "seed", "negative",
    "height",
    "width", "latents", "noises", "text", "null", "image", "strength", "budget", "observers",
)  # fmt: skip
EVERY = 1 if settings.default.max_examples > 50 else 4  # the number of wrong values in the profile `fast`
GOOD = {"prompts": "a", "method": Fixed(), "reward": brightness, "scheduler": "ddim", "steps": 2}


def ends_well(call):
    try:
        call()
    except TTAError as error:
        message = str(error)
        assert message.strip()
        assert "Traceback" not in message
        return message
    return ""


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_each_keyword_with_each_wrong_value(keyword, count):
    for value in WRONG[KEYWORDS.index(keyword) % EVERY :: EVERY]:
        if keyword == "backbone" and value is None:
            continue
        count("tried")
        given = {"backbone": GaussianMixture(), **GOOD, "scheduler": vp_scheduler(2), "steps": None, keyword: value}
        if keyword in ("steps", "timesteps", "sigmas", "eta") and value is not None:
            given["scheduler"] = "ddim"
        ends_well(lambda given=given: tta.align(given.pop("prompts"), **given))
        count("survived")


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=500 if EVERY == 1 else 25)
@given(st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(range(len(WRONG))), min_size=1, max_size=4))
def test_random_combinations(count, changes):
    count("tried")
    given = {"backbone": GaussianMixture(), **GOOD, **{name: WRONG[index] for name, index in changes.items()}}
    ends_well(lambda: tta.align(given.pop("prompts"), **given))
    count("survived")


MAKERS = (
    DATE, NullTTA, DNO, BestOfN, RandomDirection, tta.Budget, steering.Adam, steering.AdamW, steering.SGD, ZerothOrder, Hybrid1,
    Every, Fraction,
    Window, Geometric,
)  # fmt: skip


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_each_setting_with_each_wrong_value(make, count, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", False)  # the checks of `frozen` are also active for users
    for place, field in enumerate(attrs.fields(make)):
        if not field.init:
            continue
        for value in WRONG[place % EVERY :: EVERY]:
            count("tried")
            ends_well(lambda field=field, value=value: make(**{field.name: value}))
            count("survived")


SENSELESS = {
    "sgd": lambda: steering.SGD(lr=1e30),
    "adam": lambda: steering.Adam(1.0, (0.0, 0.0), 0.0),
    "stop_at": lambda: DNO(stop_at=math.nan),
    "subsample": lambda: DNO(subsample=20000),
    "budget": lambda: tta.Budget(seconds=math.nan),
    "budget without end": lambda: tta.Budget(flops=math.inf),
    "momentum": lambda: steering.SGD(momentum=5.0),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_meaningless_values_are_refused(name, count):
    count("tried")
    with pytest.raises(InputError):
        SENSELESS[name]()
    count("survived")


@pytest.mark.parametrize("observer", [lambda: None, lambda a, b: None, int, DATE], ids=["none", "two", "a type", "a class"])
def test_observers_of_another_arity_are_refused_before_the_run(observer):
    with pytest.raises(InputError, match="observer"):
        tta.align("a", backbone=GaussianMixture(), method=Fixed(), reward=brightness, observers=[observer])


WRONG_TIMES = {
    "ascending": ({"timesteps": [0, 500, 999]}, "goes from noise to the image"),
    "repeated": ({"timesteps": [900, 500, 500]}, "goes from noise to the image"),
    "below zero": ({"sigmas": [1.0, 0.5, -0.1]}, "goes from noise to the image"),
    "beyond the training": ({"timesteps": [5000, 10]}, "trained on times up to 1000"),
}


@pytest.mark.parametrize(("given", "message"), WRONG_TIMES.values(), ids=WRONG_TIMES)
def test_times_that_do_not_fall_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        tta.align("a red circle", method="fixed", scheduler="native", **given)


@pytest.mark.parametrize("name", ["text", "null"])
@pytest.mark.parametrize("wrong", ["a red circle", 3, {"a": 1}, [1, 2], iter("ab")], ids=["text", "number", "dict", "list", "iterator"])
def test_objects_that_are_not_embeddings_are_refused_by_name(name, wrong):
    with pytest.raises(InputError, match=f"{name} is .* but it takes a tta_core.Embedding"):
        tta.align("a", backbone=GaussianMixture(), method=Fixed(), reward=brightness, scheduler=vp_scheduler(2), **{name: wrong})
