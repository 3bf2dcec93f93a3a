"""`tta score`: scores of image files by several rewards."""

import csv
import json

import numpy
import pytest
from PIL import Image

from tta_plugins.cli.assignments import assigned


@pytest.fixture
def images(tmp_path):
    """A flat grey image and one with vertical stripes, of different sizes."""
    grey = Image.fromarray(numpy.full((8, 8, 3), 51, dtype=numpy.uint8))
    stripes = Image.fromarray(numpy.tile(numpy.array([[0] * 3, [255] * 3], dtype=numpy.uint8), (6, 5, 1)))
    grey.save(tmp_path / "grey.png")
    stripes.save(tmp_path / "stripes.png")
    return [tmp_path / "grey.png", tmp_path / "stripes.png"]


def test_numbers_are_the_scores_of_the_rewards(tta, images):
    result = tta("score", *images, "--reward", "brightness", "--reward", "edges", "--prompt", "an image", "--json")
    assert result.exit_code == 0, result.output
    grey, stripes = json.loads(result.stdout)["rows"]
    assert grey["scores"] == pytest.approx({"brightness": 0.2, "edges": 0.0})
    assert stripes["scores"] == pytest.approx({"brightness": 0.5, "edges": 1.0})
    assert grey["prompt"] == stripes["prompt"] == "an image"


def test_the_table_has_a_column_for_each_reward(tta, images):
    out = tta("score", images[0], "--reward", "brightness", "--reward", "edges", "--prompt", "x").stdout
    assert "edges (score)" in out
    assert "0.2000" in out


def test_prompts_go_to_their_images_in_order(tta, images):
    rows = json.loads(tta("score", *images, "-r", "edges", "-p", "first", "-p", "second", "--json").stdout)["rows"]
    assert [row["prompt"] for row in rows] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "edges", "-p", "a", "-p", "b", "-p", "c"], "3 prompts for 2 images"),
        (["-r", "edgs", "-p", "a"], "Did you mean 'edges'"),
        (["-r", "edges", "-p", "a", "--json", "--csv"], "--json and --csv are both given"),
        (["-r", "edges", "-p", "a", "--column", "text"], "--column text names a column"),
        (["-r", "jpeg", "--set", "jpeg.quality=1", "--set", "jpeg.quality=2"], "--set gives jpeg.quality twice: '1' and '2'"),
        (["-r", "brightness", "-r", "edges", "-p", "a", "--set", "edge.size=1"], "Did you mean 'edges'"),
    ],
)
def test_refusals(tta, images, arguments, message):
    result = tta("score", *images, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_file_that_is_not_an_image_is_named(tta, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    result = tta("score", tmp_path / "text.png", "-r", "edges", "-p", "a")
    assert result.exit_code == 1
    assert "text.png could not be read as an image" in result.stderr
    assert "1 of 1 images could not be scored" in result.stderr


def test_one_unreadable_image_does_not_lose_the_others(tta, images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    result = tta("score", tmp_path, "-r", "brightness", "--json")
    rows = {row["image"].rsplit("/")[-1]: row for row in json.loads(result.stdout)["rows"]}
    assert result.exit_code == 1
    assert rows["grey.png"]["scores"]["brightness"] == pytest.approx(0.2)
    assert rows["stripes.png"]["scores"]["brightness"] == pytest.approx(0.5)
    assert rows["broken.png"]["scores"] == {}
    assert "could not be read" in rows["broken.png"]["error"]


def test_a_reward_that_fails_on_one_image_keeps_the_rest_of_its_batch(tta, site, tmp_path):
    from tta_core.plugins.discovery import plugins

    picky = (
        "from tta_core import hookimpl\ndef picky(images, prompts):\n    assert images.min() > 0\n    return images.mean((1, 2, 3))\n"
        "@hookimpl\ndef tta_register_rewards(register):\n    register('picky', picky)\n"
    )
    site.add("tta-picky", "tta_picky", picky)
    plugins.cache_clear()
    for name, level in (("img10", 0), ("img2", 51), ("img1", 102)):
        Image.new("L", (4, 4), level).save(tmp_path / f"{name}.png")
    result = tta("score", tmp_path, "-r", "picky", "-p", "a", "--csv")
    header, *rows = csv.reader(result.stdout.splitlines())
    assert result.exit_code == 1
    assert header == ["image", "prompt", "picky", "error"]
    assert [row[0].rsplit("/")[-1] for row in rows] == ["img1.png", "img2.png", "img10.png"]
    assert float(rows[0][2]) == pytest.approx(0.4)
    assert rows[2][2] == ""
    assert "AssertionError" in rows[2][3]


def test_only_rewards_that_read_the_prompt_need_one(tta, images):
    assert tta("score", images[0], "-r", "brightness").exit_code == 0
    result = tta("score", images[0], "-r", "brightness", "-r", "edges")
    assert result.exit_code == 1
    assert "edges needs a prompt" in result.stderr


def test_prompts_come_from_a_file_in_order_or_by_a_column_of_images(tta, images, tmp_path):
    (tmp_path / "lines.txt").write_text("first\nsecond\n")
    (tmp_path / "table.csv").write_text("caption,image\nsecond,stripes.png\nfirst,grey.png\n")
    for options in (["--prompts", tmp_path / "lines.txt"], ["--prompts", tmp_path / "table.csv", "--column", "caption"]):
        rows = json.loads(tta("score", *images, "-r", "edges", *options, "--json").stdout)["rows"]
        assert [row["prompt"] for row in rows] == ["first", "second"]
    (tmp_path / "short.csv").write_text("prompt,image\nsecond,stripes.png\n")
    result = tta("score", *images, "-r", "edges", "--prompts", tmp_path / "short.csv")
    assert 'missing from the column "image"' in result.stderr


def test_an_empty_folder_is_refused(tta, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no image" in tta("score", tmp_path / "empty", "-r", "brightness").stderr


def test_a_transparent_image_is_refused(tta, tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "ghost.png")
    result = tta("score", tmp_path / "ghost.png", "-r", "edges", "-p", "a")
    assert result.exit_code == 1
    assert "partly transparent" in result.stderr


def test_a_name_with_a_dot_can_be_set():
    assert assigned(["hpsv2.1.preprocess=official", "clip.scale=1.5"], ["hpsv2.1", "clip"]) == {
        "hpsv2.1": {"preprocess": "official"},
        "clip": {"scale": "1.5"},
    }


def test_a_setting_reaches_the_reward(tta, tmp_path):
    noise = numpy.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    sizes = []
    for quality in (10, 95):
        result = tta("score", tmp_path / "noise.png", "-r", "jpeg", "-p", "a", "--set", f"jpeg.quality={quality}", "--json")
        sizes.append(json.loads(result.stdout)["rows"][0]["scores"]["jpeg"])
    assert sizes[0] > sizes[1]


def test_a_rewards_error_names_its_package(tta, site, images):
    from tta_core.plugins.discovery import plugins

    faulty = (
        "from tta_core import hookimpl\nclass Faulty:\n    def __call__(self, images, prompts):\n        return images.mean()\n"
        "@hookimpl\ndef tta_register_rewards(register):\n    register('faulty', Faulty)\n"
    )
    site.add("tta-faulty", "tta_faulty", faulty)
    plugins.cache_clear()
    result = tta("score", images[0], "-r", "faulty", "-p", "a")
    assert result.exit_code == 1
    assert "Faulty (from tta-faulty 1.0) returned scores of shape ()" in result.stderr


def test_a_row_of_prompts_belongs_to_one_image(tta, images, monkeypatch):
    monkeypatch.chdir(images[0].parent)
    images[0].with_name("p.csv").write_text("image,prompt\n./grey.png,a\n")
    assert "grey.png,a," in tta("score", "grey.png", "-r", "edges", "--prompts", "p.csv", "--csv").stdout
    images[0].with_name("p.csv").write_text("image,prompt\ngrey.png,a\ngrey.png,b\n")
    assert "names an image twice" in tta("score", "grey.png", "-r", "edges", "--prompts", "p.csv").stderr
