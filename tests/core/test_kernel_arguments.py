"""Wrong arguments are refused with a message before anything is computed; numpy's numbers are accepted as numbers."""

import math

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

import tta_core as tta
from tta_core.errors import InputError
from tta_core.solving.from_image import last_steps
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_core.values.images import as_pixels
from tta_plugins.methods.date import DATE

NAN = torch.full((1, *GaussianMixture().latent_shape(8, 8)), math.nan)


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch):
    """Switches off the checks of annotations that this project's tests use, which would refuse all of this first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def aligned(prompts="a red circle", **changes):
    settings = {"backbone": GaussianMixture(), "method": DATE(), "reward": Likeness(), "scheduler": vp_scheduler(2)}
    return tta.align(prompts, **{**settings, **changes})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompts": None}, r"prompts takes a text or a list of texts, but it is None"),
        ({"prompts": "a\ud800"}, r"The prompt 'a\\ud800' is not UTF-8"),
        ({"negative": ["\udfff"]}, r"The negative prompt '\\udfff' is not UTF-8"),
        ({"seed": 2**64}, r"seed is 18446744073709551616, but it takes a whole number of at most 64 bits"),
        ({"negative": 3}, r"negative takes a text or a list of texts, but it is 3"),
        ({"seed": None}, r"seed is None, but it takes a whole number"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"seed": ["1"]}, r"seed is '1'"),
        ({"height": "32"}, r"height is '32', but it takes a whole number"),
        ({"width": 8.5}, r"width is 8\.5"),
        ({"scheduler": "native", "steps": 2.5}, r"steps is 2\.5"),
        ({"guidance": math.nan}, r"guidance is nan, but it takes a finite number"),
        ({"guidance": "3"}, r"guidance is '3'"),
        ({"strength": math.nan}, r"strength is nan"),
        ({"budget": 3}, r"budget is 3, but it takes a tta_core\.Budget"),
        ({"observers": print}, r"observers is <built-in function print>, but it takes a list"),
        ({"observers": [3]}, r"observers is \[3\]"),
        ({"noises": NAN}, r"noises is of type Tensor, but it has no __call__, like, permutations"),
        ({"latents": [1.0]}, r"latents is of type list"),
        ({"latents": NAN}, r"latents hold a NaN"),
        ({"text": torch.zeros(1)}, r"text is tensor.*, but it takes a tta_core.Embedding, or a list of one for each step"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(InputError, match=message):
        aligned(**wrong)


@pytest.mark.parametrize("seed", [np.int64(3), np.int64(0), np.arange(2), [np.int32(1), 2]], ids=repr)
def test_numpy_integers_are_seeds(seed):
    numpys = aligned(["a", "b"], seed=seed)
    plain = aligned(["a", "b"], seed=np.asarray(seed).tolist())
    assert list(numpys.scores) == list(plain.scores)
    assert numpys.record() | {"trace": 0, "cost": 0} == plain.record() | {"trace": 0, "cost": 0}
    assert type(numpys.manifest["seed"]) in (int, list)


@pytest.mark.parametrize("strength", [1.5, 0.0, -1.0])
def test_a_strength_outside_its_range_is_refused_with_its_meaning(strength):
    with pytest.raises(InputError, match=rf"strength is {strength:g}, but it is the share .* above 0 and at most 1"):
        last_steps(vp_scheduler(3), strength)


@pytest.mark.parametrize("total", [3, 7, 29, 50])
def test_the_suggested_strength_is_enough(total):
    with pytest.raises(InputError, match=f"runs none of {total} steps") as caught:
        last_steps(vp_scheduler(total), 0.001)
    assert last_steps(vp_scheduler(total), float(str(caught.value).split("at least ")[1].split(",")[0])).count >= 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([], r"this is \[\]"),
        ([Image.new("RGB", (8, 8)), 3], "this is 3"),
        (torch.full((1, 3, 8, 8), math.nan), r"values lie in \[nan, nan\]"),
    ],
    ids=["none", "number", "nan"],
)
def test_a_wrong_image_is_shown_in_the_message(image, message):
    with pytest.raises(InputError, match=message):
        as_pixels(image, 1)
