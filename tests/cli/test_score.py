"""`tta score`: pictures on disk by several rewards."""

import json

import numpy
import pytest
from PIL import Image

from tta_plugins.cli.assignments import assigned


@pytest.fixture
def pictures(tmp_path):
    """A flat grey picture and one with vertical stripes, of different sizes."""
    grey = Image.fromarray(numpy.full((8, 8, 3), 51, dtype=numpy.uint8))
    stripes = Image.fromarray(numpy.tile(numpy.array([[0] * 3, [255] * 3], dtype=numpy.uint8), (6, 5, 1)))
    grey.save(tmp_path / "grey.png")
    stripes.save(tmp_path / "stripes.png")
    return [tmp_path / "grey.png", tmp_path / "stripes.png"]


def test_numbers_are_the_rewards_own(tta, pictures):
    result = tta("score", *pictures, "--reward", "brightness", "--reward", "edges", "--prompt", "a picture", "--json")
    assert result.exit_code == 0, result.output
    grey, stripes = json.loads(result.stdout)["rows"]
    assert grey["scores"] == pytest.approx({"brightness": 0.2, "edges": 0.0})
    assert stripes["scores"] == pytest.approx({"brightness": 0.5, "edges": 1.0})
    assert grey["prompt"] == stripes["prompt"] == "a picture"


def test_the_table_has_a_column_for_each_reward(tta, pictures):
    out = tta("score", pictures[0], "--reward", "brightness", "--reward", "edges", "--prompt", "x").stdout
    assert "edges (score)" in out
    assert "0.2000" in out


def test_prompts_go_to_their_pictures_in_order(tta, pictures):
    rows = json.loads(tta("score", *pictures, "-r", "edges", "-p", "first", "-p", "second", "--json").stdout)["rows"]
    assert [row["prompt"] for row in rows] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "edges", "-p", "a", "-p", "b", "-p", "c"], "3 prompts for 2 pictures"),
        (["-r", "edgs", "-p", "a"], "Did you mean 'edges'"),
        (["-r", "brightness", "-r", "edges", "-p", "a", "--set", "edge.size=1"], "Did you mean 'edges'"),
    ],
)
def test_refusals(tta, pictures, arguments, message):
    result = tta("score", *pictures, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_what_is_no_picture_is_named(tta, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    result = tta("score", tmp_path / "text.png", "-r", "edges", "-p", "a")
    assert result.exit_code == 1
    assert "text.png could not be read as a picture" in result.stderr


def test_a_transparent_picture_is_refused(tta, tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "ghost.png")
    result = tta("score", tmp_path / "ghost.png", "-r", "edges", "-p", "a")
    assert result.exit_code == 1
    assert "partly transparent" in result.stderr


def test_a_name_with_a_dot_can_be_set():
    assert assigned(["hpsv2.1.preprocess=official", "clip.scale=1.5"], ["hpsv2.1", "clip"]) == {
        "hpsv2.1": {"preprocess": "official"},
        "clip": {"scale": "1.5"},
    }


def test_a_settings_value_reaches_the_reward(tta, tmp_path):
    noise = numpy.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    sizes = []
    for quality in (10, 95):
        result = tta("score", tmp_path / "noise.png", "-r", "jpeg", "-p", "a", "--set", f"jpeg.quality={quality}", "--json")
        sizes.append(json.loads(result.stdout)["rows"][0]["scores"]["jpeg"])
    assert sizes[0] > sizes[1]


def test_a_rewards_error_names_its_package(tta, site, pictures):
    from tta_core.plugins.discovery import plugins

    faulty = (
        "from tta_core import hookimpl\nclass Faulty:\n    def __call__(self, images, prompts):\n        return images.mean()\n"
        "@hookimpl\ndef tta_register_rewards(register):\n    register('faulty', Faulty)\n"
    )
    site.add("tta-faulty", "tta_faulty", faulty)
    plugins.cache_clear()
    result = tta("score", pictures[0], "-r", "faulty", "-p", "a")
    assert result.exit_code == 1
    assert "Faulty (from tta-faulty 1.0) returned scores of shape ()" in result.stderr
