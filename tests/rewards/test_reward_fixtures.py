"""Scores, gradients and every mapped tensor agree with the authors' own code, and each wrong choice would be detected."""

import json

import attrs
import pytest
import torch
from tiny_rewards import (
    AESTHETIC_FILE,
    FIXTURES,
    HPS_FILE,
    IMAGEREWARD_FILE,
    NAMED,
    STD,
    aesthetic,
    as_images,
    clip,
    imagereward,
    numbers,
    pickscore,
    prompts_of,
    recorded,
)
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from tta_plugins.rewards.affine import fold
from tta_plugins.rewards.blip_keys import parts_of, text_config, vision_config
from tta_plugins.rewards.clip_checkpoint import Checkpoint, open_checkpoint
from tta_plugins.rewards.clip_cosine import cosine
from tta_plugins.rewards.hpsv2 import HPSv2
from tta_plugins.rewards.imagereward import MEAN
from tta_plugins.rewards.imagereward import STD as SCORE_STD
from tta_plugins.rewards.open_clip_keys import clip_config, clip_state
from tta_plugins.rewards.preprocessing import CLIP_PATHS, HPS_PATHS
from tta_plugins.rewards.weights import build, read_state

EXPECTED = {"hpsv2_tiny": "score", "clip_hf_tiny_gelu": "cosine", "imagereward_tiny": "score"}


def scored(name, reward):
    io = recorded(name)
    images = as_images(io["pixel_values"]).requires_grad_()
    return images, reward(images, prompts_of(name, io)), io


@pytest.mark.parametrize("name", NAMED)
def test_scores_and_gradients_are_the_authors(name):
    images, scores, io = scored(name, NAMED[name]())
    torch.testing.assert_close(scores, io[EXPECTED[name]], atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad((scores * io.get("grad_weights", torch.ones(len(scores)))).sum(), images)
    expected = io["grad_pixel_values"] / STD
    assert (gradient - expected).norm() / expected.norm() < 1e-4


def test_scales():
    _, cosines, io = scored("clip_hf_tiny_gelu", clip())
    for reward in (pickscore(), clip(scale="logit")):
        torch.testing.assert_close(scored("clip_hf_tiny_gelu", reward)[1], io["pickscore"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scored("clip_hf_tiny_gelu", pickscore(scale="cos"))[1], cosines)
    torch.testing.assert_close(scored("clip_hf_tiny_gelu", clip(scale="hessel"))[1], 2.5 * cosines.clamp(min=0))
    _, raw, io = scored("imagereward_tiny", imagereward(scale="raw"))
    torch.testing.assert_close(raw, io["raw_score"].flatten(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((raw - MEAN) / SCORE_STD, io["score"].flatten(), atol=1e-5, rtol=1e-5)


def test_aesthetic_head_is_the_authors_in_one_step(tmp_path):
    io = recorded("aesthetic_tiny")
    head = fold(read_state(AESTHETIC_FILE), "tiny")
    embeds = io["tiny_embeds"] / io["tiny_embeds"].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(head(embeds), io["tiny_score"].flatten(), atol=1e-5, rtol=0)
    assert (head(io["tiny_embeds"]) - io["tiny_score"].flatten()).abs().max() > 1e-3  # without normalisation

    reward, images = aesthetic(tmp_path), torch.rand(2, 3, 70, 60, requires_grad=True)
    scores = reward(images, ["", ""])
    assert scores.shape == (2,)
    assert torch.autograd.grad(scores.sum(), images)[0].abs().sum() > 0


def sums(tensor):
    flat = tensor.double().flatten()
    return [flat.sum().item(), (flat * torch.arange(1, flat.numel() + 1)).sum().item()]


def same_tensors(mapped, expected):
    assert mapped.keys() == expected.keys()
    for key, (shape, *values) in expected.items():
        assert list(mapped[key].shape) == shape, key
        assert sums(mapped[key]) == pytest.approx(values, rel=1e-6, abs=1e-9), key


def test_every_mapped_tensor_of_hps_is_in_its_place():
    """The score does not depend on logit_scale and the biases of the keys; these sums do."""
    expected = json.loads((FIXTURES / "hpsv2_tiny" / "mapped_checksums.json").read_text())
    same_tensors(clip_state(read_state(HPS_FILE), "tiny"), expected)
    swapped = {
        key.replace(".k_proj.", ".v_proj."): tuple(value) for key, value in expected.items() if "layers.0.self_attn.k_proj.bias" in key
    }
    mapped = clip_state(read_state(HPS_FILE), "tiny")
    assert all(sums(mapped[key]) != pytest.approx(list(value[1:]), rel=1e-6) for key, value in swapped.items())


def test_every_mapped_tensor_of_imagereward_is_in_its_place():
    expected = json.loads((FIXTURES / "imagereward_tiny" / "mapped_checksums.json").read_text())
    parts = parts_of(read_state(IMAGEREWARD_FILE), "tiny")
    for part, name in ((parts.vision, "vision"), (parts.text, "text"), (parts.head, "mlp")):
        same_tensors(part, expected[name])


def swap_query_and_value(state):
    def swapped(key):
        return key.replace("q_proj", "?").replace("v_proj", "q_proj").replace("?", "v_proj")

    return {swapped(key): value for key, value in state.items()}


CLIP_CONTROLS = {
    "quick_gelu": lambda c, s: (c.vision_config.update({"hidden_act": "quick_gelu"}), s)[1],
    "quick_gelu in the text tower": lambda c, s: (c.text_config.update({"hidden_act": "quick_gelu"}), s)[1],
    "tanh gelu": lambda c, s: (c.vision_config.update({"hidden_act": "gelu_new"}), s)[1],
    "eps": lambda c, s: (c.vision_config.update({"layer_norm_eps": 1e-3}), s)[1],
    "vision heads": lambda c, s: (c.vision_config.update({"num_attention_heads": 6}), s)[1],
    "text heads": lambda c, s: (c.text_config.update({"num_attention_heads": 4}), s)[1],
    "query and value": lambda c, s: swap_query_and_value(s),
}


@pytest.mark.parametrize("choice", CLIP_CONTROLS)
def test_a_wrong_choice_in_hps_would_be_detected(choice):
    state = read_state(HPS_FILE)
    config, mapped = clip_config(state, (16, 16), "tiny"), clip_state(state, "tiny")
    wrong = Checkpoint(config, CLIP_CONTROLS[choice](config, mapped), "tiny")
    io = recorded("hpsv2_tiny")
    scores = cosine(wrong, HPS_PATHS["diff"], numbers(120))(as_images(io["pixel_values"]), prompts_of("hpsv2_tiny", io))
    assert (scores - io["score"]).abs().max() > 2e-5


@pytest.mark.parametrize("change", [{"vision_config": "quick_gelu"}, {"text_config": "quick_gelu"}], ids=str)
def test_a_wrong_activation_in_clip_would_be_detected(change):
    checkpoint = open_checkpoint(FIXTURES / "clip_hf_tiny_gelu")
    for part, activation in change.items():
        getattr(checkpoint.config, part).hidden_act = activation
    io = recorded("clip_hf_tiny_gelu")
    scores = cosine(checkpoint, CLIP_PATHS["reno"], numbers(120))(as_images(io["pixel_values"]), prompts_of("clip_hf_tiny_gelu", io))
    assert (scores - io["cosine"]).abs().max() > 2e-5


BLIP_CONTROLS = {
    "vision eps": lambda v, t: v.update({"layer_norm_eps": 1e-5}),
    "text eps": lambda v, t: t.update({"layer_norm_eps": 1e-5}),
    "tanh gelu": lambda v, t: v.update({"hidden_act": "gelu_new"}),
    "vision heads": lambda v, t: v.update({"num_attention_heads": 8}),
    "text heads": lambda v, t: t.update({"num_attention_heads": 6}),
}


@pytest.mark.parametrize("choice", BLIP_CONTROLS)
def test_a_wrong_choice_in_imagereward_would_be_detected(choice):
    parts = parts_of(read_state(IMAGEREWARD_FILE), "tiny")
    vision, text = vision_config(parts.vision, 12, "tiny"), text_config(parts.text, 12, "tiny")
    BLIP_CONTROLS[choice](vision, text)
    networks = {
        "vision": build(lambda: BlipVisionModel(vision), parts.vision, "tiny"),
        "text": build(lambda: BlipTextModel(text, add_pooling_layer=False), parts.text, "tiny"),
    }
    io = recorded("imagereward_tiny")
    wrong = attrs.evolve(imagereward()._blip, networks=networks)
    raw = wrong(as_images(io["pixel_values"]), prompts_of("imagereward_tiny", io))
    assert (raw - io["raw_score"].flatten()).abs().max() > 2e-5


@pytest.mark.filterwarnings("ignore:ImageReward reads 35 tokens")
def test_a_missing_mask_or_an_enc_token_would_be_detected():
    io = recorded("imagereward_tiny")
    images, reward = as_images(io["pixel_values"]), imagereward()
    prompts = prompts_of("imagereward_tiny", io)
    for wrong in ([f"{prompt} <pad> <pad>" for prompt in prompts], [f"89 {prompt.partition(' ')[2]}" for prompt in prompts]):
        assert (reward(images, wrong) - io["score"].flatten()).abs().max() > 1e-3


def test_a_wrong_head_width_gives_another_score():
    _, scores, io = scored("hpsv2_tiny", HPSv2(HPS_FILE, tokenizer=numbers(120), head_widths=(8, 16)))
    assert (scores - io["score"]).abs().max() > 1e-3
