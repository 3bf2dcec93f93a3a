"""Film strips: frames at equal distances, a limited number of them, and either of the whole batch or none."""

from functools import cache
from itertools import pairwise

import pytest
import torch

import tta_core
from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.tables import vp_scheduler
from tta_core.values.typing import evolve
from tta_plugins.pages.film_strip import LENGTH, SAMPLES, FilmStrip

BACKBONE = GaussianMixture()


@cache
def reached():
    """A snapshot of a run."""
    with tta_core.prepare("a", backbone=BACKBONE, method="fixed", reward="brightness", scheduler=vp_scheduler(1)) as prepared:
        return next(iter(prepared.method.align(prepared.problem)))


def seen(count, batch=1):
    film = FilmStrip()
    for place in range(count):
        film.see(evolve(reached(), x0=torch.full((batch, *reached().x0.shape[1:3], 400), place / 1000)))
    return film


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 15, 16, 17, 100, 1000])
def test_frames_are_evenly_spaced_and_the_last_is_the_result(count):
    film = seen(count)
    places = [round(estimate[0, 0, 0, 0].item() * 1000) for estimate in film.estimates()]
    assert len(film.kept) < 2 * LENGTH
    assert len(places) == min(count, LENGTH)
    if count:
        assert (places[0], places[-1]) == (0, count - 1)
    gaps = [later - before for before, later in pairwise(places)]
    assert not gaps or (min(gaps) >= 1 and max(gaps) <= 3 * min(gaps[:-1] or gaps))


def test_thumbnails_of_the_first_samples():
    strips = seen(20, batch=SAMPLES + 2).decoded(BACKBONE, SAMPLES + 2)
    assert [tuple(strip.shape) for strip in strips] == [(LENGTH, 3, reached().x0.shape[2] * 160 // 400, 160)] * SAMPLES


def test_a_batch_that_was_run_again_in_parts_has_no_strip():
    film = seen(3, batch=2)
    film.see(reached())
    assert film.decoded(BACKBONE, 2) == ()
    assert len(film.estimates()) == 1
