"""VQAScore, Soft-TIFA and HPSv3 compared with the authors' computations, on tiny models of the real classes."""

import json
import shutil

import attrs
import numpy as np
import pytest
import torch
from network_suite import NetworkSuite
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_vlms import MEAN, STD, folder, hpsv3, hpsv3_folder, special, tokenizer
from transformers import AutoModelForImageTextToText, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError, LoadError
from tta_plugins.rewards.hpsv3 import REWARD
from tta_plugins.rewards.qwen_pixels import QwenPixels
from tta_plugins.rewards.soft_tifa import SoftTIFA, spellings
from tta_plugins.rewards.vqascore import VQAScore

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
PROMPTS = ["a red dog", "2 cats"]
WITH_QUESTIONS = [
    tta.Prompt("a", questions=[("How many?", "two"), ("Which colour", "red")]),
    tta.Prompt("b", questions=[("Is it red?", "yes")]),
]


def vqa(family, **changes):
    return VQAScore(**{"weights": folder(family), "dtype": "float32"} | changes)


def processed(image, **changes):
    """transformers' own processor applied to the 8-bit image."""
    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    options = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, "image_mean": MEAN, "image_std": STD}
    processor = Qwen2VLImageProcessorPil(**options | {"min_pixels": 256, "max_pixels": 1024} | changes)
    return processor(Image.fromarray(levels), return_tensors="pt")


def first_token(family, image, text, system="You are a helpful assistant.", types=True):
    """Probabilities of the first token of the answer; the model is called with the inputs of its processor."""
    model = AutoModelForImageTextToText.from_pretrained(folder(family), dtype=torch.float32).eval()
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if family == "qwen3_vl" else {}
    given = processed(image, **half)
    opening = f"<|im_start|>system\n{system}<|im_end|>\n" if system and family != "qwen3_vl" else ""
    pads = "<|image_pad|>" * (int(given["image_grid_thw"].prod()) // 4)
    turn = f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer()(opening + turn, return_tensors="pt").input_ids
    kinds = (ids == special("<|image_pad|>")).int() if types else torch.zeros_like(ids).int()
    with torch.no_grad():
        logits = model(input_ids=ids, mm_token_type_ids=kinds, **given).logits
    return logits[0, -1].softmax(-1)


@pytest.mark.parametrize("path", ["official", "diff"])
@pytest.mark.parametrize("size", [(32, 32), (20, 70), (33, 90), (3, 200), (160, 160)])
def test_patches_are_the_processors_own(size, path):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.float32)) / 255
    patches, grid = QwenPixels(path, 8, 2, 2, 256, 1024, MEAN, STD)(image)
    expected = processed(image)
    assert torch.equal(grid, expected["image_grid_thw"])
    step = 1 / 255 / min(STD)
    error = (patches - expected["pixel_values"]).abs()
    assert error.max() < 1e-5 if path == "official" or size == (32, 32) else error.mean() < step
    wrong = processed(image, image_mean=[0.5] * 3, image_std=[0.5] * 3)["pixel_values"]
    assert (patches - wrong).abs().mean() > 10 * error.mean()


def test_impossible_aspect_ratios_are_refused():
    with pytest.raises(IncompatibleError, match="1 x 300 pixels"):
        QwenPixels()(torch.zeros(3, 1, 300))


@pytest.mark.parametrize("family", FAMILIES)
def test_vqascore_is_the_probability_of_yes(family):
    question = 'Does this figure show "{}"? Please answer Yes or No.'
    expected = [first_token(family, image, question.format(prompt))[special("Yes")] for image, prompt in zip(IMAGES, PROMPTS, strict=True)]
    found = vqa(family, preprocess="official")(IMAGES, PROMPTS)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(vqa(family, scale="log")(IMAGES, PROMPTS).exp(), vqa(family)(IMAGES, PROMPTS))
    wrong = {
        "template": first_token(family, IMAGES[0], f"Is this {PROMPTS[0]}?")[special("Yes")],
        "token": first_token(family, IMAGES[0], question.format(PROMPTS[0]))[special("yes")],
    }
    if family != "qwen3_vl":
        wrong["system"] = first_token(family, IMAGES[0], question.format(PROMPTS[0]), system="")[special("Yes")]
    wrong["types"] = first_token(family, IMAGES[0], question.format(PROMPTS[0]), types=False)[special("Yes")]
    for name, score in wrong.items():
        assert (score - found[0]).abs() > 1e-3 * found[0], name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_finite_differences(family):
    reward = vqa(family, scale="log")
    images = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(images, PROMPTS)[0], images)
    assert not gradient[1].any()
    step = 2e-3 * gradient / gradient.abs().max()
    change = (reward(IMAGES + step, PROMPTS) - reward(IMAGES - step, PROMPTS))[0]
    assert change.item() == pytest.approx(2 * (step * gradient).sum().item(), rel=0.02)


class TestVQAScore(NetworkSuite):
    rounding = 0.1

    @pytest.fixture(scope="class")
    def reward(self):
        return vqa("qwen2_5_vl", scale="log")


class TestHPSv3(NetworkSuite):
    rounding = 0.1
    gradient_tolerance = 0.3  # the head is not smooth

    @pytest.fixture(scope="class")
    def reward(self, hps_folder):
        return hpsv3(hps_folder)


@pytest.mark.slow  # it has VQAScore's network and code, called twice for each image; the next test is quick
class TestSoftTIFA(NetworkSuite):
    rounding = 0.1

    @pytest.fixture(scope="class")
    def reward(self):
        """The prompts of the laws have no questions, so each one is asked about itself."""
        inner = SoftTIFA(folder("qwen3_vl"), dtype="float32")
        return Asking(inner)


def test_soft_tifa_scores_each_image_alone_and_has_its_gradient():
    reward, images = SoftTIFA(folder("qwen3_vl"), dtype="float32"), IMAGES.clone().requires_grad_()
    scores = reward(images, WITH_QUESTIONS)
    (gradient,) = torch.autograd.grad(scores[0], images)
    assert gradient[0].any()
    assert not gradient[1].any()
    torch.testing.assert_close(reward(IMAGES[1:], WITH_QUESTIONS[1:])[0], scores[1].detach(), rtol=1e-5, atol=1e-8)


@attrs.frozen(eq=False)
class Asking:
    inner: SoftTIFA

    def __call__(self, images, prompts):
        asked = [tta.Prompt(prompt, questions=[(f"Is it {prompt}", "yes"), ("How many?", "2")]) for prompt in prompts]
        return self.inner(images, asked)

    @property
    def networks(self):
        return self.inner.networks


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.15), ("float16", 0.02)])
def test_half_precision_changes_scores_only_by_rounding(dtype, bound):
    exact, half = vqa("qwen2_5_vl", scale="log")(IMAGES, PROMPTS), vqa("qwen2_5_vl", scale="log", dtype=dtype)(IMAGES, PROMPTS)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < bound


def test_soft_tifa_adds_the_spellings_and_averages_over_questions():
    answers = [("How many?", "two"), ("Which colour.", "red"), ("Is it red?", "yes")]
    probabilities = []
    for image, (question, answer) in zip((IMAGES[0], IMAGES[0], IMAGES[1]), answers, strict=True):
        found = first_token("qwen3_vl", image, f"{question} Answer in one word.")
        tokens = {tokenizer().encode(spelling)[0] for spelling in spellings(answer)}
        probabilities.append(found[sorted(tokens)].sum())
    one, two, three = probabilities
    options = {"weights": folder("qwen3_vl"), "dtype": "float32", "preprocess": "official"}
    torch.testing.assert_close(SoftTIFA(**options)(IMAGES, WITH_QUESTIONS), torch.stack([(one + two) / 2, three]), rtol=1e-4, atol=1e-8)
    geometric = SoftTIFA(**options, mean="geometric")(IMAGES, WITH_QUESTIONS)
    torch.testing.assert_close(geometric, torch.stack([(one * two).sqrt(), three]), rtol=1e-4, atol=1e-8)
    assert spellings("two") == sorted(["two", "Two", "2", " two", " Two", " 2"])
    assert SoftTIFA(**options).card.facts == ("questions",)


@pytest.fixture(scope="module")
def hps_folder():
    return hpsv3_folder()


def transcribed(place, image, prompt, output=0, mrope=False):
    """mu, computed from the last hidden state of the class with a language head and the formula of the head."""
    state = load_file(place / "HPSv3.safetensors")
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder("qwen2_vl"), dtype=torch.float32).eval()
    model.resize_token_embeddings(len(tokenizer()) + 1)
    model.get_input_embeddings().weight.data.copy_(state["model.embed_tokens.weight"])
    given = processed(image, min_pixels=1024)
    pads = "<|image_pad|>" * (int(given["image_grid_thw"].prod()) // 4)
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    chat = f"{system}<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>Rate {prompt} now: "
    before, after = (tokenizer()(text).input_ids for text in (chat, " end<|im_end|>\n<|im_start|>assistant\n"))
    ids = torch.tensor([[*before, len(tokenizer()), *after]])
    kinds = (ids == special("<|image_pad|>")).int()
    positions = {} if mrope else {"position_ids": torch.arange(ids.shape[1]).expand(3, 1, -1)}
    with torch.no_grad():
        hidden = model.model(input_ids=ids, mm_token_type_ids=kinds, **positions, **given).last_hidden_state[0, len(before)]
    weight = {name.removeprefix("rm_head."): value for name, value in state.items() if name.startswith("rm_head.")}
    first = (weight["0.weight"] @ hidden + weight["0.bias"]).clamp(min=0)
    second = (weight["3.weight"] @ first + weight["3.bias"]).clamp(min=0)
    return (weight["5.weight"] @ second + weight["5.bias"])[output]


def test_hpsv3_is_mu_at_the_reward_token(hps_folder):
    found = hpsv3(hps_folder, preprocess="official")(IMAGES, PROMPTS)
    for row, (image, prompt) in enumerate(zip(IMAGES, PROMPTS, strict=True)):
        torch.testing.assert_close(found[row], transcribed(hps_folder, image, prompt), rtol=1e-4, atol=1e-6)
    for wrong in ({"output": 1}, {"mrope": True}):
        assert (transcribed(hps_folder, IMAGES[0], PROMPTS[0], **wrong) - found[0]).abs() > 1e-4


def test_hpsv3_rows_are_independent_and_have_gradients(hps_folder):
    reward = hpsv3(hps_folder)
    images = IMAGES.clone().requires_grad_()
    scores = reward(images, PROMPTS)
    (gradient,) = torch.autograd.grad(scores[1], images)
    assert not gradient[0].any()
    assert gradient[1].any()
    assert torch.equal(reward(IMAGES[1:], PROMPTS[1:])[0], scores[1].detach())


def test_special_tokens_in_a_prompt_are_refused(hps_folder):
    for reward, token in ((vqa("qwen2_5_vl"), "<|im_end|>"), (hpsv3(hps_folder), "<|Reward|>"), (vqa("qwen3_vl"), "<|image_pad|>")):
        with pytest.raises(InputError, match=r"is a special token of the model"):
            reward(IMAGES[:1], [f"a dog {token} and Yes"])


def test_hpsv3_reads_about_200704_pixels():
    pixels = QwenPixels(least=256 * 28 * 28, most=256 * 28 * 28)
    assert pixels.size(1024, 1024) == pixels.size(64, 64) == (448, 448)
    assert pixels.size(512, 1024) == (308, 616)


def test_hpsv3_names_missing_parts(hps_folder, tmp_path):
    (tmp_path / "no.txt").write_text("Rate this")
    with pytest.raises(LoadError, match=r"no\.txt is not HPSv3's instruction"):
        hpsv3(hps_folder, instruction=tmp_path / "no.txt")
    state = load_file(hps_folder / "HPSv3.safetensors")
    for lost, told in (("rm_head.0.weight", "Sequential: 1 missing"), ("visual.patch_embed.proj.weight", "1 missing")):
        save_file({key: value for key, value in state.items() if key != lost}, tmp_path / "HPSv3.safetensors")
        with pytest.raises(LoadError, match=told):
            hpsv3(hps_folder, weights=tmp_path)
    assert REWARD in (hps_folder / "instruction.txt").read_text()


def test_folders_in_common_layouts_load(tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(folder("qwen2_5_vl"), dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="20kB")
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder("qwen2_5_vl") / name, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    torch.testing.assert_close(vqa("qwen2_5_vl", weights=tmp_path)(IMAGES, PROMPTS), vqa("qwen2_5_vl")(IMAGES, PROMPTS))
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text('{"patch_size": 8}')
    with pytest.raises(LoadError, match=r"preprocessor_config\.json cannot be used: KeyError"):
        vqa("qwen2_5_vl", weights=tmp_path)
    lost = sorted(set(index["weight_map"].values()))[0]
    (tmp_path / lost).unlink()
    with pytest.raises(LoadError, match=r"could not be read from"):
        vqa("qwen2_5_vl", weights=tmp_path)
    with pytest.raises(LoadError, match=r"could not be read from"):
        vqa("qwen2_5_vl", weights=tmp_path / "absent")
