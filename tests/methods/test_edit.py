"""Editing: with the source text the image is reproduced, any method samples it for another text, and embeddings may differ by step."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from published import FOLDER, dark
from typer.testing import CliRunner

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError
from tta_core.plugins import resolve
from tta_core.values.images import to_pil
from tta_core.values.schedules import Every
from tta_plugins.editing.edit import edit
from tta_plugins.editing.null_text import NullTextInversion
from tta_plugins.methods.date import DATE
from tta_plugins.methods.universal_guidance import UniversalGuidance

STEPS = 4


@pytest.fixture(scope="module")
def backbone():
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER / "tiny-sd", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return resolve.backbone(pipeline)


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def edited(backbone, image, target, method, **settings):
    settings = {"guidance": 3.5, "steps": STEPS} | settings
    return edit(target, image=image, source="a red circle", backbone=backbone, method=method, reward=dark, **settings)


def as_the_autoencoder_gives_it_back(backbone, image):
    with torch.no_grad():
        return backbone.decode(backbone.encode_image(image)).clamp(0, 1)


def test_the_source_text_reproduces_the_image(backbone, image):
    again = edited(backbone, image, "a red circle", "fixed")
    torch.testing.assert_close(again.result.pixels, as_the_autoencoder_gives_it_back(backbone, image), atol=2e-3, rtol=0)
    other = edited(backbone, image, "a blue square", "fixed")
    assert (other.result.pixels - again.result.pixels).abs().max() > 0.02
    assert other.manifest["edit"]["source"] == ["a red circle"]


def test_null_text_inversion_reproduces_the_image_approximately(backbone, image):
    wanted = as_the_autoencoder_gives_it_back(backbone, image)
    errors = {}
    for inner in (1, 6):
        inversion = NullTextInversion(inner, lr=0.1, tolerance=0.0)
        again = edited(backbone, image, "a red circle", "fixed", inversion=inversion, guidance=7.5)
        errors[inner] = (again.result.pixels - wanted).square().mean()
    assert errors[6] < errors[1] < 0.05, errors


EDITS = [(UniversalGuidance(20.0), "ddpm-inversion"), (DATE(rho=20.0, updates=Every(2)), NullTextInversion(2))]


@pytest.mark.parametrize(("method", "inversion"), EDITS, ids=["noises", "embeddings"])
def test_a_method_edits_towards_the_reward(backbone, image, method, inversion):
    found = edited(backbone, image, "a blue square", method, inversion=inversion)
    assert found.scores.mean > found.baseline.scores.mean
    assert (found.result.pixels - image).abs().mean() < 0.5


def test_two_targets_give_the_results_of_each_alone(backbone, image):
    targets = ["a blue square", "a green star"]
    both = edited(backbone, image, targets, "fixed", strength=0.5)
    for row, target in enumerate(targets):
        alone = edited(backbone, image, target, "fixed", strength=0.5)
        torch.testing.assert_close(both.result.pixels[row], alone.result.pixels[0], atol=1e-4, rtol=0)


def test_invalid_arguments_of_an_edit_are_refused(backbone, image):
    with pytest.raises(InputError, match="no image"):
        edited(backbone, None, "a blue square", "fixed")
    with pytest.raises(InputError, match="latents are given"):
        edited(backbone, image, "a blue square", "fixed", latents=torch.zeros(1, 4, 8, 8))
    with pytest.raises(IncompatibleError, match="step 0 adds no noise"):
        edited(backbone, image, "a blue square", "fixed", eta=0.0)
    with pytest.raises(IncompatibleError, match="sampler whose step 0 adds noise"):
        edited(backbone, image, "a blue square", "fixed", inversion="null-text", eta=1.0)
    with pytest.raises(IncompatibleError, match="embeddings that differ from step to step"):
        edited(backbone, image, "a blue square", DATE(variable=tta.NullEmbedding()), inversion="null-text")


def test_the_command_edits(image, tmp_path):
    from tta_plugins.cli.app import app

    to_pil(image[0]).save(tmp_path / "in.png")
    arguments = ["edit", str(tmp_path / "in.png"), "--source", "a red circle", "--target", "a blue square", "--method", "fixed"]
    arguments += ["--backbone", str(FOLDER / "tiny-sd"), "--reward", "darkness", "--steps", "2", "--guidance", "2", "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["manifest"]["edit"] == {"source": ["a red circle"], "inversion": "'ddpm-inversion'", "source_guidance": 3.5}
    assert record["prompts"] == ["a blue square"]
    assert (tmp_path / "out" / "aligned.png").exists()


def test_the_embeddings_of_each_step_repeat_a_run(backbone):
    settings = {"backbone": backbone, "reward": dark, "steps": STEPS, "guidance": 3.5}
    with tta.prepare("a red circle", method=DATE(rho=20.0, updates=Every(2)), **settings) as prepared:
        *_, last = prepared.method.align(prepared.problem)
    texts = [last.controls.at(i).text for i in range(STEPS)]
    again = tta.align("a red circle", method="fixed", text=texts, **settings)
    torch.testing.assert_close(again.result.pixels, last.images, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match=r"text has embeddings for 3 steps, but this run takes 4"):
        tta.align("a red circle", method="fixed", text=texts[1:], **settings)
    with pytest.raises(InputError, match=r"text has 1 rows, but there are 2 prompts"):
        tta.align(["a", "b"], method="fixed", text=texts, **settings)
    with pytest.raises(IncompatibleError, match="differ from step to step"):
        tta.align("a red circle", method="date", text=texts, **settings)


def test_null_text_inversion_warns_of_what_it_does_not_use(backbone, image, recwarn):
    edited(backbone, image, "a red circle", "fixed", inversion=NullTextInversion(1), steps=2)
    assert not [warning for warning in recwarn if "strength" in str(warning.message)]
    with pytest.warns(UserWarning, match="strength is 0.3, but null-text inversion uses all steps"):
        edited(backbone, image, "a red circle", "fixed", inversion=NullTextInversion(1), steps=2, strength=0.3)
