"""Memory policies and batches change a reward's networks without changing its scores."""

from pathlib import Path

import pytest
import torch
from tiny_rewards import CLIP_FOLDER, NAMED, as_images, clip, hps, imagereward, numbers, prompts_of, recorded
from transformers import CLIPModel, CLIPTokenizer

from tta_core.errors import InputError
from tta_core.protocols.reward import card_of, networks_of
from tta_core.solving.scoring import checked
from tta_plugins import shapes
from tta_plugins.rewards.clip import CLIPScore

REWARDS = pytest.mark.parametrize("name", NAMED)


def given(name):
    io = recorded(name)
    return as_images(io["pixel_values"]), prompts_of(name, io)


def score_and_gradient(reward, images, prompts):
    images = images.detach().clone().requires_grad_()
    scores = reward(images, prompts)
    return scores.detach(), torch.autograd.grad(scores.sum(), images)[0]


@REWARDS
def test_an_image_scores_alone_as_in_a_batch(name):
    images, prompts = given(name)
    scores, gradients = score_and_gradient(NAMED[name](), images, prompts)
    for row in range(len(prompts)):
        alone, gradient = score_and_gradient(NAMED[name](), images[row : row + 1], prompts[row : row + 1])
        torch.testing.assert_close(alone[0], scores[row], atol=1e-5, rtol=1e-5)
        assert (gradient[0] - gradients[row]).norm() / gradients[row].norm() < 1e-4


@REWARDS
def test_networks_are_declared_frozen_and_whole(name):
    reward = NAMED[name]()
    assert networks_of(reward)
    assert card_of(reward).differentiable
    for network in networks_of(reward).values():
        assert not network.training
        assert not any(parameter.requires_grad or parameter.dtype != torch.float32 for parameter in network.parameters())
        assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


@REWARDS
@pytest.mark.parametrize(("dtype", "score_error", "gradient_error"), [(torch.bfloat16, 3e-2, 0.1), (torch.float16, 5e-3, 0.02)])
def test_a_cast_between_two_calls_changes_scores_only_by_rounding(name, dtype, score_error, gradient_error):
    """The prompts were cached before the cast. Scores stay float32, and are not rounded to the dtype of the networks."""
    images, prompts = given(name)
    reward = NAMED[name].__wrapped__()
    scores, gradients = score_and_gradient(reward, images, prompts)
    for network in reward.networks.values():
        network.to(dtype)
    cast, cast_gradients = score_and_gradient(reward, images, prompts)
    assert cast.dtype == cast_gradients.dtype == torch.float32
    assert (cast - scores).abs().max() < score_error
    assert (cast_gradients - gradients).norm() / gradients.norm() < gradient_error
    assert not torch.equal(cast, cast.to(dtype).float())
    for network in reward.networks.values():
        network.to(torch.float32)
    assert (reward(images, prompts) - scores).abs().max() < score_error


@REWARDS
def test_checkpointing_changes_nothing(name):
    images, prompts = given(name)
    reward = NAMED[name].__wrapped__()
    scores, gradients = score_and_gradient(reward, images, prompts)
    vision = reward.networks["vision"]
    vision.train()
    vision.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, recomputed = score_and_gradient(reward, images, prompts)
    assert torch.equal(again, scores)
    torch.testing.assert_close(recomputed, gradients)


@REWARDS
def test_gradients_work_after_a_call_in_inference_mode(name):
    images, prompts = given(name)
    reward = NAMED[name].__wrapped__()
    with torch.inference_mode():
        first = reward(images, prompts)
    scores, gradients = score_and_gradient(reward, images, prompts)
    torch.testing.assert_close(first, scores)
    assert torch.isfinite(gradients).all()


@pytest.mark.parametrize("reward", [hps, clip, imagereward], ids=lambda make: make.__wrapped__.__name__)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (20, 90)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_of_any_shape_have_finite_scores_and_gradients(reward, size, level):
    scores, gradients = score_and_gradient(reward(), torch.full((1, 3, *size), level), ["5 9"])
    assert torch.isfinite(scores).all()
    assert torch.isfinite(gradients).all()


def test_each_prompt_is_encoded_once():
    reward = clip.__wrapped__()
    calls = []
    reward._cosine.text.tower.register_forward_hook(lambda *_: calls.append(1))
    for prompts in (["3 4", "5"], ["5", "3 4"], ["3 4", "3 4"]):
        reward(torch.rand(2, 3, 56, 56), prompts)
    assert len(calls) == 2


def test_a_loaded_clip_model_shares_its_memory_and_keeps_its_own_state():
    model = CLIPModel.from_pretrained(CLIP_FOLDER, dtype=torch.float32).train()
    reward = CLIPScore(model, tokenizer=numbers(120), preprocess="reno")
    images, prompts = given("clip_hf_tiny_gelu")
    torch.testing.assert_close(reward(images, prompts), clip()(images, prompts))
    mine, own = reward.networks["vision"].visual_projection.weight, model.visual_projection.weight
    assert mine.data_ptr() == own.data_ptr()
    assert own.requires_grad
    assert model.training
    assert "CLIPModel" in repr(reward)
    assert "tensor" not in repr(reward)
    with pytest.raises(InputError, match="has no tokenizer"):
        CLIPScore(model)


@REWARDS
def test_the_record_of_an_experiment_is_short_and_holds_no_tensor(name):
    reward = NAMED[name]()
    assert len(repr(reward)) < 400
    assert "tensor" not in repr(reward)
    assert all((card := reward.card).__getattribute__(field) for field in ("unit", "version", "source", "licence", "citation"))
    assert "sha256" in card.weights
    assert checked(reward, torch.rand(1, 3, 56, 56), ["7"]).shape == (1,)


def test_the_embedded_clip_scores_as_transformers_does():
    """A folder with its own image size, normalisation and prompt length, compared with `CLIPModel.forward` on a padded batch."""
    folder = Path(shapes.__file__).parent / "weights" / "clip"
    model, tokenizer = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval(), CLIPTokenizer.from_pretrained(folder)
    size, length = model.config.vision_config.image_size, model.config.text_config.max_position_embeddings
    images, prompts = torch.rand(2, 3, size, size), ["a red circle", "a blue square above a green triangle on a white background"]
    pixels = (images - 0.5) / 0.5
    with torch.no_grad():
        ids = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        expected = model(input_ids=ids, pixel_values=pixels).logits_per_image.diagonal()
    torch.testing.assert_close(CLIPScore(folder, scale="logit")(images, prompts), expected, atol=1e-4, rtol=0)
