"""The result of a run, and the files that it writes."""

import json

import pytest
import torch

import tta_core as tta
from tta_core.errors import InputError
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_plugins.methods.date import DATE


def aligned(prompts="a red circle", **changes):
    settings = {"backbone": GaussianMixture(), "method": DATE(), "reward": Likeness(), "scheduler": vp_scheduler(4)}
    return tta.align(prompts, **{**settings, **changes})


def test_saving(tmp_path):
    done = aligned(["a", "b"])
    folder = done.save(tmp_path / "deep" / "run")
    assert sorted(path.name for path in folder.iterdir()) == [
        "aligned-00.png", "aligned-01.png", "baseline-00.png", "baseline-01.png", "grid.png", "run.json",
    ]  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert record["prompts"] == ["a", "b"]
    assert record["scores"] == pytest.approx(list(done.scores))
    assert record["unit"] == "colour"
    assert len(record["trace"]) == len(done.trace)
    alone = aligned().save(tmp_path / "one")
    assert {"aligned.png", "baseline.png"} <= {path.name for path in alone.iterdir()}


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"Cannot write to .*Give another output folder"):
        aligned().save(tmp_path / "file")


def test_images_are_eight_bit_rgb():
    done = aligned()
    assert (done.images[0].mode, done.images[0].size) == ("RGB", (8, 8))
    assert done.grid().size == (16, 8)
    assert done.grid(enlarge=4).size == (64, 32)


def test_the_manifest_is_enough_to_run_it_again():
    manifest = aligned(seed=3, negative="blurred").manifest
    assert manifest["method"] == repr(DATE())
    assert manifest["seed"] == 3
    assert manifest["negative"] == ["blurred"]
    assert manifest["given"] == []
    assert (manifest["height"], manifest["width"], manifest["guidance"]) == (8, 8, 2.0)
    assert manifest["steps"] == 4
    assert manifest["versions"]["torch"] == torch.__version__
    assert any("2510.23974" in citation for citation in manifest["citations"])
    json.dumps(dict(manifest))
    assert aligned(latents=torch.zeros(1, *GaussianMixture().latent_shape(8, 8))).manifest["given"] == ["latents"]


def test_the_manifest_names_the_sampler():
    ddim, other = (aligned(scheduler=table).manifest for table in (vp_scheduler(4), vp_scheduler(4, order=2)))
    assert ddim["scheduler"] == other["scheduler"]
    assert ddim["sampler"]["table"] != other["sampler"]["table"]
    assert ddim["sampler"] == aligned(seed=1, scheduler=vp_scheduler(4)).manifest["sampler"]


def test_scores_are_numbers_and_print_as_text():
    scores = aligned(["a", "b"]).scores
    assert scores[0] + scores[1] == pytest.approx(2 * scores.mean)
    assert "colour (Likeness)" in str(scores)
