"""SigLIP 2, aesthetic v2.5, safety, DINO and CycleReward on tiny models of the real classes, compared with their formulas."""

import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from network_suite import NetworkSuite
from PIL import Image
from tiny_rewards import CLIP_FOLDER, IMAGEREWARD_FILE, clip, imagereward, numbers
from torch.nn.functional import cosine_similarity, gelu
from transformers import (
    Dinov2Config,
    Dinov2Model,
    SiglipConfig,
    SiglipModel,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
)

import tta_core as tta
from tta_core.errors import InputError, LoadError
from tta_core.values.images import read_image
from tta_plugins.rewards.aesthetic_v25 import AestheticV25
from tta_plugins.rewards.cyclereward import CycleReward, layers_of
from tta_plugins.rewards.dino import DINOSimilarity
from tta_plugins.rewards.imagereward import MEAN, STD
from tta_plugins.rewards.nsfw import Safety
from tta_plugins.rewards.siglip2 import SigLIP2
from tta_plugins.rewards.weights import read_state

IMAGES = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(2))
PROMPTS = ["3 5", "7", "9 2 4"]
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def eight_bit(images):
    return [Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()) for image in images]


def resized(images, size, mean, std, resample=Image.Resampling.BICUBIC):
    """Resized to a square by Pillow, width first, and normalised."""
    found = [image.resize((size, image.height), resample).resize((size, size), resample) for image in eight_bit(images)]
    pixels = torch.stack([torch.from_numpy(np.array(image)) for image in found]).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def spread(model):
    """Random weights that are large enough for the inputs to matter."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    place = tmp_path_factory.mktemp("siglip")
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    spread(
        SiglipModel(SiglipConfig(text_config={**SMALL, "vocab_size": 60, "max_position_embeddings": 8}, vision_config=vision))
    ).save_pretrained(place)
    return place


def siglip2(place, **changes):
    return SigLIP2(**{"weights": place, "tokenizer": numbers(60), "preprocess": "official"} | changes)


def test_siglip2_is_the_models_own_logit(siglip):
    model = SiglipModel.from_pretrained(siglip).eval()
    ids = numbers(60)(PROMPTS, padding="max_length", max_length=8, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = {
            half: model(input_ids=ids, pixel_values=resized(IMAGES, 32, [half] * 3, [half] * 3)).logits_per_image.diagonal()
            for half in (0.5, 0.45)
        }
        short = model(
            input_ids=numbers(60)(PROMPTS, padding=True, return_tensors="pt").input_ids,
            pixel_values=resized(IMAGES, 32, [0.5] * 3, [0.5] * 3),
        )
    found = siglip2(siglip)(IMAGES, PROMPTS)
    torch.testing.assert_close(found, logits[0.5], rtol=1e-4, atol=1e-5)
    assert (found - logits[0.45]).abs().max() > 1e-3
    assert (found - short.logits_per_image.diagonal()).abs().max() > 1e-3
    cosines = siglip2(siglip, scale="cos")(IMAGES, PROMPTS)
    torch.testing.assert_close(cosines * model.logit_scale.exp() + model.logit_bias, found, rtol=1e-4, atol=1e-4)
    assert (siglip2(siglip, preprocess="diff")(IMAGES, PROMPTS) - found).abs().max() < 0.05 * found.std()


def test_a_prompt_beyond_the_limit_gives_one_warning(siglip):
    for reward, long in ((siglip2(siglip), "3 " * 9), (clip.__wrapped__(), "3 " * 99), (imagereward.__wrapped__(), "3 " * 99)):
        with pytest.warns(UserWarning, match=r"reads \d+ tokens, but the prompt '3 3.* has \d+: the text after"):
            reward(IMAGES[:1], [long])
        reward(IMAGES[:1], [long])


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    place = tmp_path_factory.mktemp("head")
    torch.manual_seed(1)
    sides = (16, 1024, 128, 64, 16, 1)
    state = {}
    for place_in, (inside, outside) in zip((0, 2, 4, 6, 8), pairwise(sides), strict=True):
        layer = torch.nn.Linear(inside, outside)
        state |= {f"scoring_head.{place_in}.weight": layer.weight.detach(), f"scoring_head.{place_in}.bias": layer.bias.detach()}
    torch.save(state, place / "aesthetic_predictor_v2_5.pth")
    return place


def test_aesthetic_v25_is_affine_in_the_unit_pooled_embedding(siglip, head):
    state = torch.load(head / "aesthetic_predictor_v2_5.pth")
    model = SiglipVisionModel.from_pretrained(siglip).eval()
    with torch.no_grad():
        pooled = model(pixel_values=resized(IMAGES, 32, [0.5] * 3, [0.5] * 3)).pooler_output
    scores = {}
    for name, x in (("right", pooled / pooled.norm(dim=1, keepdim=True)), ("not normalised", pooled)):
        for layer in (0, 2, 4, 6, 8):
            x = x @ state[f"scoring_head.{layer}.weight"].T + state[f"scoring_head.{layer}.bias"]
        scores[name] = x[:, 0]
    found = AestheticV25(head, siglip, "official")(IMAGES, PROMPTS)
    torch.testing.assert_close(found, scores["right"], rtol=1e-4, atol=1e-5)
    assert (found - scores["not normalised"]).abs().max() > 1e-4
    torch.save({key.removeprefix("scoring_head."): value for key, value in state.items()}, head / "other.pth")
    with pytest.raises(LoadError, match=r"missing|unknown"):
        AestheticV25(head / "other.pth", siglip)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    place = tmp_path_factory.mktemp("classifier")
    labels = {"normal": 0, "nsfw": 1, "drawn": 2}
    config = ViTConfig(**SMALL, image_size=32, patch_size=8, label2id=labels, id2label={number: name for name, number in labels.items()})
    spread(ViTForImageClassification(config)).save_pretrained(place)
    (place / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}))
    return place


def test_safety_is_the_log_odds_of_the_safe_label(classifier):
    model = ViTForImageClassification.from_pretrained(classifier).eval()
    with torch.no_grad():
        shares = model(pixel_values=resized(IMAGES, 32, [0.5] * 3, [0.5] * 3)).logits.softmax(-1)
    found = Safety(classifier, official=True)(IMAGES, PROMPTS)
    torch.testing.assert_close(found, (shares[:, 0] / (1 - shares[:, 0])).log(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(Safety(classifier, "drawn", official=True)(IMAGES, PROMPTS), shares[:, 2].logit(), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"safe='sfw' is not a label .* drawn, normal, nsfw"):
        Safety(classifier, "sfw")


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    place = tmp_path_factory.mktemp("dino")
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=7)
    spread(Dinov2Model(config)).save_pretrained(place)
    eight_bit(IMAGES)[0].save(place / "reference.png")
    return place


def test_dino_is_the_cosine_of_class_tokens_to_a_fact_or_a_setting(dino):
    model = Dinov2Model.from_pretrained(dino).eval()
    reference = read_image(dino / "reference.png")
    reward = DINOSimilarity(weights=dino, size=28)
    path = reward._features(IMAGES)
    square = torch.rand(1, 3, 32, 32)
    pixels = (square[..., 2:30, 2:30] - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        hidden = model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(reward._features(square)[0], hidden[0, 0] / hidden[0, 0].norm(), rtol=1e-4, atol=1e-5)
    assert (reward._features(square)[0] - hidden[0].mean(0) / hidden[0].mean(0).norm()).abs().max() > 1e-3
    expected = cosine_similarity(path, reward._features(reference[None]))
    for given in (dino / "reference.png", reference, eight_bit(IMAGES)[0]):
        prompts = [tta.Prompt("a", reference=given)] * 3
        torch.testing.assert_close(reward(IMAGES, prompts), expected, rtol=1e-4, atol=1e-5)
    setting = DINOSimilarity(dino / "reference.png", dino, 28)
    torch.testing.assert_close(setting(IMAGES, PROMPTS), expected, rtol=1e-4, atol=1e-5)
    assert (reward.card.facts, setting.card.facts) == (("reference",), ())
    assert expected[0] > 0.99
    with pytest.raises(LoadError, match=r"is a siglip|is a clip"):
        DINOSimilarity(weights=CLIP_FOLDER)


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    """ImageReward's tiny BLIP with CycleReward's head, whose first layer takes the same width."""
    place = tmp_path_factory.mktemp("cycle")
    state = {key: value for key, value in read_state(IMAGEREWARD_FILE).items() if key.startswith("blip.")}
    width = state["blip.text_encoder.embeddings.word_embeddings.weight"].shape[1]
    torch.manual_seed(3)
    state |= {f"mlp.layers.{name}": value.clone() for name, value in layers_of(width).state_dict().items()}
    torch.save(state, place / "CycleReward-Combo.pth")
    return place


def test_cyclereward_is_imagerewards_blip_under_a_head_with_gelu(cycle):
    tokens, widths = imagereward()._blip.tokenizer, imagereward().head_widths
    reward = CycleReward(cycle, tokenizer=tokens, preprocess="official", head_widths=widths)
    state = torch.load(cycle / "CycleReward-Combo.pth")
    hidden = []
    reward._blip.networks["text"].register_forward_hook(lambda _, __, output: hidden.append(output.last_hidden_state[:, 0]))
    found = reward(IMAGES, PROMPTS)
    x = hidden[0]
    for place in (0, 2, 4, 6, 8):
        x = x @ state[f"mlp.layers.{place}.weight"].T + state[f"mlp.layers.{place}.bias"]
        x = gelu(x) if place < 8 else x
    torch.testing.assert_close(found, x[:, 0], rtol=1e-4, atol=1e-6)
    assert reward._blip._tokens("3")[0].shape == (40,)  # the tiny tower has 40 positions, the real one 128
    raw = imagereward.__wrapped__(preprocess="official")(IMAGES, PROMPTS) * STD + MEAN
    assert (raw - found).abs().max() > 1e-3


def seen(name, place, head):
    """Scores, or DINO's features, since all cosines to a reference that is near are 1."""
    if name == "dino":
        return DINOSimilarity(place / "reference.png", place, 28)._features(IMAGES)
    return (AestheticV25(head, place) if name == "aesthetic-v2.5" else siglip2(place))(IMAGES, PROMPTS)


@pytest.mark.filterwarnings("ignore:SigLIP 2 reads")
@pytest.mark.parametrize("name", ["siglip2", "aesthetic-v2.5", "dino"])
def test_the_normalisation_beside_the_weights_is_read_or_refused(name, siglip, head, dino, tmp_path):
    shutil.copytree(dino if name == "dino" else siglip, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "preprocessor_config.json"
    usual, scores = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if name == "dino" else ([0.5] * 3, [0.5] * 3), []
    for mean, std in (usual, ([0.3, 0.4, 0.6], [0.2] * 3)):
        file.write_text(json.dumps({"image_mean": mean, "image_std": std}))
        scores.append(seen(name, tmp_path, head))
    file.unlink()
    assert torch.equal(seen(name, tmp_path, head), scores[0])
    assert (scores[1] - scores[0]).abs().max() > 1e-4
    levels = [json.dumps({"image_mean": [mean, 0.5, 0.5], "image_std": [std, 1, 1]}) for mean, std in ((0.5, 0), (math.nan, 1), (123, 1))]
    for damage in ("{", "[]", "[" * 100_000, '{"image_mean": [0.5]}', '{"image_mean": 1, "image_std": 1}', *levels):
        file.write_text(damage)
        with pytest.raises(LoadError, match=r"preprocessor_config\.json cannot be used"):
            seen(name, tmp_path, head)


def test_a_classifier_without_its_normalisation_is_refused(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path, dirs_exist_ok=True)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(LoadError, match="KeyError: 'image_mean'"):
        Safety(tmp_path)


class TestSigLIP2(NetworkSuite):
    @pytest.fixture(scope="class")
    def reward(self, siglip):
        return siglip2(siglip, preprocess="diff", scale="cos", tokenizer=numbers(60))

    pytestmark = pytest.mark.filterwarnings("ignore:SigLIP 2 reads")


class TestAestheticV25(NetworkSuite):
    @pytest.fixture(scope="class")
    def reward(self, siglip, head):
        return AestheticV25(head, siglip)


class TestSafety(NetworkSuite):
    tolerance = 1e-4

    @pytest.fixture(scope="class")
    def reward(self, classifier):
        return Safety(classifier)


class TestDINO(NetworkSuite):
    rounding = 0.2  # relative to the gradient, which is small near a cosine of 1

    @pytest.fixture(scope="class")
    def reward(self, dino):
        return DINOSimilarity(dino / "reference.png", dino, 28)


class TestCycleReward(NetworkSuite):
    pytestmark = pytest.mark.filterwarnings("ignore:CycleReward reads")

    @pytest.fixture(scope="class")
    def reward(self, cycle):
        return CycleReward(cycle, tokenizer=imagereward()._blip.tokenizer, head_widths=imagereward().head_widths)
