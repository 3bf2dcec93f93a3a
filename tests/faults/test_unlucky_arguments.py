"""Arguments that are ignored, replaced or of another form than the run needs: a warning or an error that says so."""

import warnings

import pytest
import torch
from diffusers import DDIMScheduler
from faulty import aligned, brightness

import tta_core as tta
from tta_core.errors import InputError
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.values.schedules import Constant, Listed, Window
from tta_plugins.methods.baselines import BestOfN, Fixed
from tta_plugins.methods.noise_search import NoiseSearch

ROWS = tuple(torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(row)) for row in range(5))


def null():
    with tta.prepare("a", backbone=GaussianMixture(), scheduler=vp_scheduler(4), method=Fixed(), reward=brightness) as prepared:
        return prepared.problem.controls.null


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"negative": "dull", "guidance": 1}, "negative is given, but it has no effect without guidance"),
        ({"negative": "dull", "guidance": Constant(0.0) * Window()}, "negative is given, but it has no effect without guidance"),
        ({"negative": "dull", "backbone": GaussianMixture(has_null=False)}, "GaussianMixture, which has no unconditional branch"),
        ({"negative": "dull", "null": null}, "negative is given, but it has no effect beside null"),
        ({"null": null, "guidance": 0}, "null is given, but it has no effect without guidance"),
        ({"strength": 0.3}, "strength is 0.3, but it has no effect without an image"),
        ({"latents": ROWS[0][0], "noises": tta.GivenNoise(ROWS)}, "row 0 of noises is ignored"),
    ],
    ids=["guidance 1", "schedule of 0", "no null branch", "both", "null", "strength", "x_T twice"],
)
def test_what_has_no_effect_is_said(given, message, count):
    count("tried")
    given = {name: value() if value is null else value for name, value in given.items()}
    with pytest.warns(UserWarning, match=message):
        aligned(method=Fixed(), **given)
    count("survived")


def test_a_negative_prompt_that_some_step_uses_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aligned(method=Fixed(), negative="dull", guidance=Constant(3.0) * Window(0.5, 1.0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"guidance": lambda index, total: 3.0}, "guidance is <function.*, or a schedule"),
        ({"guidance": [3.0, 2.0]}, "guidance is .*Listed"),
        ({"guidance": Listed((3.0, 2.0, 1.0))}, "Listed has 3 numbers, but it is used for 4 steps"),
        ({"guidance": Listed((5.0, 4.0, 3.0, 2.0, 1.0))}, "Listed has 5 numbers, but it is used for 4 steps"),
        ({"scheduler": DDIMScheduler()}, "DDIMScheduler, an object of diffusers.*pipeline.scheduler"),
        ({"scheduler": vp_scheduler}, "scheduler is of type function, but it has no believe, initial_std, predict, steps"),
        ({"scheduler": tta.GaussianScheduler((), "epsilon")}, r"GaussianScheduler have the indices \[\]"),
        ({"scheduler": tta.evolve(vp_scheduler(4), steps=vp_scheduler(4).steps[1:])}, r"indices \[1, 2, 3\], but they must be 0, 1, 2"),
        ({"noises": tta.GivenNoise((ROWS[0], torch.zeros(1, 1, 4, 4, 8), *ROWS[2:]))}, r"noises have the shape \(1, 4, 4, 8\)"),
        ({"noises": tta.GivenNoise((ROWS[0] * torch.nan, *ROWS[1:]))}, "noises hold a NaN"),
        ({"text": tta.Embedding(torch.full((1, 3, 8), torch.nan))}, "text holds a NaN"),
    ],
    ids=["function", "list", "too short", "too long", "diffusers", "a maker", "no steps", "last steps", "shapes", "NaN", "NaN text"],
)
def test_the_error_names_the_argument_and_the_remedy(given, message, count):
    count("tried")
    with pytest.raises(InputError, match=message):
        aligned(method=Fixed(), **given)
    count("survived")


def test_observers_whose_code_a_call_does_not_run_are_refused(count):
    def generator(snapshot):
        yield snapshot

    async def coroutine(snapshot):
        return snapshot

    for observer in (generator, coroutine):
        count("tried")
        with pytest.raises(InputError, match=f"{observer.__name__} is a generator or a coroutine"):
            aligned(observers=[observer])
        count("survived")


@pytest.mark.parametrize("method", [BestOfN(4), NoiseSearch()], ids=["best-of-n", "noise-search"])
def test_a_reward_that_returns_one_buffer_at_each_call(method, count):
    count("tried")
    buffer = torch.zeros(1)

    def reused(images, prompts):
        return buffer.copy_(brightness(images, prompts).detach())

    one, other = (aligned(method=method, reward=reward) for reward in (reused, brightness))
    assert torch.equal(one.result.pixels, other.result.pixels)
    assert one.scores.values == other.scores.values
    assert one.baseline.scores.values == other.baseline.scores.values
    count("survived")


def test_text_as_overwrite_does_not_overwrite(tmp_path):
    done = aligned(method=Fixed())
    done.save(tmp_path / "one")
    with pytest.raises(InputError, match="overwrite is 'no'"):
        aligned(method=Fixed(), seed=2).save(tmp_path / "one", overwrite="no")
