"""docs/gallery.md has the numbers that its script computes for the first prompts, and every image exists and is small."""

import runpy
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate_gallery.py"))
PAGE = SCRIPT["PAGE"].read_text(encoding="utf-8")
SHOWN = SCRIPT["read"](PAGE)


def test_every_prompt_is_shown_by_every_method():
    assert sorted(SHOWN) == sorted(SCRIPT["prompts_of"]())
    assert {tuple(columns) for columns in SHOWN.values()} == {("plain", *SCRIPT["METHODS"])}
    assert PAGE.startswith(SCRIPT["INTRODUCTION"])


def test_the_worst_prompt_is_first():
    changes = [[float(column[1]) - float(columns["plain"][1]) for column in columns.values()] for columns in SHOWN.values()]
    means = [sum(change) for change in changes]
    assert all(first <= second + 0.05 for first, second in pairwise(means))  # the page has two decimals


def test_the_images_are_there_and_small():
    files = {SCRIPT["IMAGES"] / f"{SCRIPT['slug'](prompt)}.webp" for prompt in SHOWN}
    assert set(SCRIPT["IMAGES"].iterdir()) == files
    assert sum(file.stat().st_size for file in files) <= 400_000
    for file in files:
        with Image.open(file) as image:
            assert image.height == SCRIPT["SIDE"]
        assert f"(assets/gallery/{file.name} " in PAGE


def test_the_numbers_are_what_the_methods_give():
    prompts = SCRIPT["prompts_of"](2)
    found = SCRIPT["sampled"](prompts, ["DATE"])
    for place, prompt in enumerate(prompts):
        for name, images in found.items():
            said = SHOWN[prompt][name]
            assert float(said[0]) == pytest.approx(images.outcome.scores[place], rel=0.02, abs=0.01)
            assert float(said[1]) == pytest.approx(images.held_out[place], abs=0.05)
            assert (said[2], said[3]) == images.numbers(place)[2:]
