"""The shipped weights are complete, small, readable by this version of transformers, and as good as the documentation says."""

import random
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from transformers import CLIPModel, CLIPProcessor, CLIPTextModel, CLIPTokenizer

from tta_core.errors import LoadError
from tta_plugins.shapes import fingerprint, grammar, load, metrics, render, scenes
from tta_plugins.shapes.models import text_encoder

MEGABYTE = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pipeline():
    return StableDiffusionPipeline.from_pretrained(load.pipeline_folder())


@pytest.fixture(scope="module")
def reward():
    folder = load.clip_folder()
    return CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)


def test_all_weights_together_are_small():
    assert sum(file.stat().st_size for file in load.WEIGHTS.rglob("*") if file.is_file()) < 16 * MEGABYTE


def test_every_file_is_listed():
    listed = {line.split("  ", 1)[1] for line in (load.WEIGHTS / load.SUMS).read_text().splitlines()}
    there = {file.relative_to(load.WEIGHTS).as_posix() for file in load.WEIGHTS.rglob("*") if file.is_file()}
    assert there - {load.SUMS} == listed


@pytest.mark.parametrize("name", ["pipeline/unet/diffusion_pytorch_model.safetensors", "clip/config.json"])
def test_a_truncated_file_is_named(tmp_path, name):
    copy = shutil.copytree(load.WEIGHTS, tmp_path / "weights")
    load.verify(copy)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(LoadError, match=name.rsplit("/", 1)[1]):
        load.verify(copy)


def test_a_missing_file_is_named(tmp_path):
    copy = shutil.copytree(load.WEIGHTS, tmp_path / "weights")
    (copy / "judge" / "model.safetensors").unlink()
    with pytest.raises(LoadError, match=r"judge/model\.safetensors is missing"):
        load.verify(copy)


def test_the_text_encoder_was_really_loaded(pipeline):
    fingerprint.check(pipeline.text_encoder, pipeline.tokenizer)
    alone = CLIPTextModel.from_pretrained(load.pipeline_folder() / "text_encoder")
    fingerprint.check(alone, pipeline.tokenizer)


def test_random_weights_are_detected(pipeline):
    with pytest.raises(LoadError, match="random"):
        fingerprint.check(text_encoder(pipeline.tokenizer).eval(), pipeline.tokenizer)


def test_transformers_4_finds_the_text_encoder_under_its_names():
    with safe_open(load.pipeline_folder() / "text_encoder" / "model.safetensors", "pt") as file:
        assert all(key.startswith("text_model.") for key in file.keys())  # noqa: SIM118


def test_one_thing_is_sampled_correctly(pipeline):
    captions = metrics.captions_of("one", 12, seed=7)
    images = metrics.sample(pipeline, [str(caption) for caption in captions], seed=7)
    assert metrics.drawing_figures(images, captions, "one")[0].share >= 0.8


def test_the_reward_depends_on_one_changed_word(reward):
    found = {figure.name: figure.share for figure in metrics.reward_figures(*reward, count=60, seed=7)}
    assert found["reward prefers the true colour"] >= 0.85
    assert found["reward prefers the true shape"] >= 0.85
    assert found["reward prefers the true relation"] >= 0.65


def test_the_reward_works_with_its_own_processor(reward):
    """What a reward without knowledge of shapes does: processor in, logits out."""
    processor = CLIPProcessor.from_pretrained(load.clip_folder())
    prompts = ["a red circle on a white background", "a blue square on a black background"]
    images = render.render([scenes.arrange(random.Random(0), grammar.parse(prompt)) for prompt in prompts])
    levels = [image.mul(255).byte().permute(1, 2, 0).numpy() for image in images]
    inputs = processor(text=prompts, images=levels, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = reward[0](**inputs).logits_per_image
    assert logits.argmax(1).tolist() == [0, 1]


def test_the_judge_names_things_on_renders():
    found = metrics.judge_figures(load.judge(), lambda images: images, 60, seed=7)
    assert found[1].share >= 0.95
