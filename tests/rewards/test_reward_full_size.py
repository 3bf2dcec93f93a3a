"""The published architectures at full size: the same key maps, every tensor mapped, and the published numbers of parameters."""

import pytest
import torch
from tiny_rewards import numbers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLModel,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from tta_core.plugins.discovery import plugins
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.planning.reward_networks import has_reward_network, reward_network
from tta_plugins.rewards.blip_keys import parts_of, text_config, vision_config
from tta_plugins.rewards.clip_checkpoint import Checkpoint
from tta_plugins.rewards.clip_flant5 import projector_of
from tta_plugins.rewards.cyclereward import layers_of
from tta_plugins.rewards.hpsv2 import HPSv2
from tta_plugins.rewards.hpsv3 import head_of, hpsv3_state
from tta_plugins.rewards.imagereward import ImageReward
from tta_plugins.rewards.mps_config import cross_model, mps_clip_config
from tta_plugins.rewards.mps_cross import CrossModel
from tta_plugins.rewards.open_clip_keys import clip_config, clip_state
from tta_plugins.rewards.weights import build


def block(width, mlp):
    norms = {f"ln_{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
    attention = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,)}
    out = {"attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,)}
    hidden = {"mlp.c_fc.weight": (mlp, width), "mlp.c_fc.bias": (mlp,), "mlp.c_proj.weight": (width, mlp), "mlp.c_proj.bias": (width,)}
    return norms | attention | out | hidden


def open_clip_shapes(vision, vision_mlp, vision_layers, text=1024, text_layers=24):
    shapes = {
        "logit_scale": (),
        "positional_embedding": (77, text),
        "token_embedding.weight": (49408, text),
        "text_projection": (text, 1024),
    }
    shapes |= {"ln_final.weight": (text,), "ln_final.bias": (text,), "visual.class_embedding": (vision,), "visual.proj": (vision, 1024)}
    shapes |= {"visual.positional_embedding": (257, vision), "visual.conv1.weight": (vision, 3, 14, 14)}
    shapes |= {f"visual.{name}.{kind}": (vision,) for name in ("ln_pre", "ln_post") for kind in ("weight", "bias")}
    for prefix, width, mlp, layers in (("visual.", vision, vision_mlp, vision_layers), ("", text, 4 * text, text_layers)):
        for n in range(layers):
            shapes |= {f"{prefix}transformer.resblocks.{n}.{key}": shape for key, shape in block(width, mlp).items()}
    return shapes


def imagereward_shapes():
    v, t, both = "blip.visual_encoder.", "blip.text_encoder.", ("weight", "bias")
    shapes = {f"{v}cls_token": (1, 1, 1024), f"{v}pos_embed": (1, 197, 1024), f"{v}patch_embed.proj.weight": (1024, 3, 16, 16)}
    shapes |= {f"{v}patch_embed.proj.bias": (1024,)} | {f"{v}norm.{kind}": (1024,) for kind in both}
    layers = {"attn.qkv": (3072, 1024), "attn.proj": (1024, 1024), "mlp.fc1": (4096, 1024), "mlp.fc2": (1024, 4096)}
    for n in range(24):
        shapes |= {f"{v}blocks.{n}.norm{i}.{kind}": (1024,) for i in (1, 2) for kind in both}
        shapes |= {f"{v}blocks.{n}.{key}.{kind}": shape[: 2 if kind == "weight" else 1] for key, shape in layers.items() for kind in both}
    shapes |= {f"{t}embeddings.{key}.weight": (rows, 768) for key, rows in (("word_embeddings", 30524), ("position_embeddings", 512))}
    shapes |= {f"{t}embeddings.LayerNorm.{kind}": (768,) for kind in both}
    for n in range(12):
        for name, width in (("attention", 768), ("crossattention", 1024)):
            rows = {"self.query": (768, 768), "self.key": (768, width), "self.value": (768, width), "output.dense": (768, 768)}
            rows |= {"output.LayerNorm": (768,)}
            shapes |= {
                f"{t}encoder.layer.{n}.{name}.{key}.{kind}": s[: 2 if kind == "weight" else 1] for key, s in rows.items() for kind in both
            }
        rows = {"intermediate.dense": (3072, 768), "output.dense": (768, 3072), "output.LayerNorm": (768,)}
        shapes |= {f"{t}encoder.layer.{n}.{key}.{kind}": s[: 2 if kind == "weight" else 1] for key, s in rows.items() for kind in both}
    widths = dict(zip((0, 2, 4, 6, 7), [(1024, 768), (128, 1024), (64, 128), (16, 64), (1, 16)], strict=True))
    shapes |= {f"mlp.layers.{n}.{kind}": shape[: 2 if kind == "weight" else 1] for n, shape in widths.items() for kind in both}
    return shapes


def nowhere(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def drawn(shapes, dtype):
    generator = torch.Generator().manual_seed(0)
    return {key: (torch.randn(shape, generator=generator) * 0.02).to(dtype) for key, shape in shapes.items()}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_hps_is_vit_h_14():
    state = nowhere(open_clip_shapes(1280, 5120, 32))
    assert len(state) == 686
    mapped = clip_state(state, "full")
    assert len(mapped) == 910
    checkpoint = Checkpoint(clip_config(state, (80, 64), "full"), mapped, "full")
    image, text = checkpoint.image_tower(), checkpoint.text_tower()
    assert (count(image), count(text) + 1) == (632_076_800, 354_032_641)
    assert (image.config.num_attention_heads, text.config.num_attention_heads, image.config.image_size) == (16, 16, 224)
    assert (text.config.eos_token_id, image.config.hidden_act, text.config.hidden_act) == (49407, "gelu", "gelu")


def test_the_same_map_reads_vit_g_14():
    state = nowhere(open_clip_shapes(1408, 6144, 40))
    checkpoint = Checkpoint(clip_config(state, (88, 64), "full"), clip_state(state, "full"), "full")
    assert checkpoint.image_tower().config.num_attention_heads == 16


def test_imagereward_is_blip_large():
    state = nowhere(imagereward_shapes())
    assert len(state) == 624 - 4  # without the two contrastive heads
    parts = parts_of(state, "full")
    vision, text = vision_config(parts.vision, 64, "full"), text_config(parts.text, 64, "full")
    assert count(build(lambda: BlipVisionModel(vision), parts.vision, "full")) == 303_301_632
    assert count(build(lambda: BlipTextModel(text, add_pooling_layer=False), parts.text, "full")) == 141_977_088
    assert sum(tensor.numel() for tensor in parts.head.values()) == 927_969
    assert (vision.num_attention_heads, text.num_attention_heads, vision.image_size) == (16, 12, 224)


@pytest.mark.slow
def test_a_full_hps_file_loads_and_scores(tmp_path):
    file = tmp_path / "HPS_v2.1_compressed.pt"
    torch.save({"state_dict": drawn(open_clip_shapes(1280, 5120, 32), torch.float16)}, file)
    assert file.stat().st_size == pytest.approx(1_972_446_611, rel=1e-3)
    scored_with_gradient(HPSv2(tmp_path, "2.1", tokenizer=numbers(49408)))


@pytest.mark.slow
def test_a_full_imagereward_file_loads_and_scores(tmp_path):
    torch.save(drawn(imagereward_shapes(), torch.float32), tmp_path / "ImageReward.pt")
    scored_with_gradient(ImageReward(tmp_path, tokenizer=numbers(30522)))


def published(name):
    """The networks of a planned reward. Their parameters, and the FLOPs for one image of 512 x 512 pixels, are counted on fake tensors."""
    mode = FakeMode()
    reward = reward_network(name, mode, torch.bfloat16)
    with mode, CostTracker() as flops:
        score = reward(torch.zeros(1, 3, 512, 512), ["a red circle on a blue square"])
    assert score.shape == (1,)
    return sum(map(count, reward.networks.values())), flops.flops


PLANNED = {
    # parameters, and FLOPs: for each token twice the parameters of the layers that it passes, and some attention
    "hpsv3": (8_291_375_616 - (152_064 + 152_064 - 151_658) * 3584 + 3_687_474, 2 * (6.53e9 * (256 + 620) + 0.665e9 * 1024)),
    "mps": (632_076_800 + 4 * (4 * 1024**2 + 2 * 1024 * 128 + 24 * 1024**2 + 4 * 1024), 2 * 257 * (0.632e9 + 0.118e9)),
    "vqascore": (8_292_166_656, 2 * (6.53e9 * (324 + 40) + 0.665e9 * 1296)),
    "soft-tifa": (8_767_123_696, 2 * (6.95e9 * (256 + 25) + 0.5e9 * 1024)),
    "siglip2": (428_225_600, 2 * 0.428e9 * 729),
    "dino": (86_580_480, 2 * 0.086e9 * 257),
    "cyclereward": (303_301_632 + 141_977_088, 2 * (0.303e9 * 197 + 0.118e9 * 128)),
    "clip-flant5": (11_135_332_352 + 303_507_456 + 4096 * 1025 + 4096 * 4097, 2 * (4.7e9 * (576 + 60) + 0.303e9 * 577)),
}


@pytest.mark.parametrize("name", [name if name == "mps" else pytest.param(name, marks=pytest.mark.slow) for name in PLANNED])
def test_plans_use_the_published_networks(name):
    parameters, flops = PLANNED[name]
    assert published(name) == (parameters, pytest.approx(flops, rel=0.25))


def test_plans_know_every_reward_that_has_published_weights():
    without = {"ocr", "remote", "darkness", "brightness", "contrast", "colourfulness", "sharpness", "jpeg", "incompressibility"}
    without |= {"saturation", "edge-density", "colour-entropy", "high-frequency"}
    ours = {entry.name for entry in plugins().registry.entries("rewards") if str(entry.target).startswith("tta_plugins.rewards")}
    assert {name for name in ours if has_reward_network(name)} == ours - without


def scored_with_gradient(reward):
    images = torch.rand(1, 3, 256, 320, requires_grad=True)
    scores = reward(images, ["320 2368 593 49407"])
    assert torch.isfinite(scores).all()
    assert torch.autograd.grad(scores.sum(), images)[0].abs().sum() > 0


def on_meta(kind, config):
    with torch.device("meta"):
        return kind(config)


def test_mps_is_vit_h_14_with_four_pairs_of_attention():
    sizes = {"hidden_act": "gelu", "projection_dim": 1024}
    vision = {**sizes, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14}
    text = {**sizes, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    whole = on_meta(CLIPModel, CLIPConfig(text_config=text, vision_config=vision, projection_dim=1024))
    state = {key: value for key, value in whole.state_dict().items() if not key.endswith("position_ids")}
    checkpoint = Checkpoint(mps_clip_config(state, (80, 64), "full"), state, "full")
    assert (count(checkpoint.image_tower()), count(checkpoint.text_tower()) + 1) == (632_076_800, 354_032_641)
    cross = on_meta(lambda _: CrossModel(1024, 4, 16, 64), None).state_dict()
    built = build(lambda: cross_model(cross, "full"), cross, "full")
    assert count(built) == 4 * (2 * 2 * 1024**2 + 2 * 1024 * 128 + 2 * 12 * 1024**2 + 2 * 2 * 1024)


def test_clip_flant5_is_flan_t5_with_a_projector():
    sizes = {"d_kv": 64, "num_layers": 24, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "vocab_size": 32128}
    xl = T5Config(d_model=2048, d_ff=5120, num_heads=32, **sizes)
    xxl = T5Config(d_model=4096, d_ff=10240, num_heads=64, **sizes)
    counts = [count(on_meta(T5ForConditionalGeneration, config)) + 32128 * config.d_model for config in (xl, xxl)]  # of the head
    assert counts == [2_849_757_184, 11_135_332_352]
    tower = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
    assert count(on_meta(CLIPVisionModel, CLIPVisionConfig(**tower, image_size=336))) == 303_507_456
    assert count(on_meta(lambda _: projector_of(1024, 4096), None)) == 4096 * 1025 + 4096 * 4097


def test_hpsv3_is_qwen2_vl_with_a_head():
    """The keys of the published file are those of transformers 4.45: `model.` and `visual.`."""
    config = Qwen2VLConfig(
        text_config={"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
        | {"num_key_value_heads": 4, "vocab_size": 151_658, "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24]}},
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "patch_size": 14},
    )
    wanted = on_meta(Qwen2VLModel, config).state_dict()
    head = on_meta(lambda _: head_of(3584), None).state_dict()
    old = {key if key.startswith("visual.") else f"model.{key.removeprefix('language_model.')}": value for key, value in wanted.items()}
    mapped, found = hpsv3_state(old | {"lm_head.weight": torch.empty(1, 1, device="meta")} | {f"rm_head.{key}": head[key] for key in head})
    assert mapped.keys() == wanted.keys()
    assert sum(value.numel() for value in mapped.values()) == 8_291_375_616 - (152_064 + 152_064 - 151_658) * 3584  # no language head
    assert sum(value.numel() for value in found.values()) == 3584 * 1024 + 1024 + 1024 * 16 + 16 + 16 * 2 + 2


def test_the_towers_of_the_others():
    so400m = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
    vision = SiglipVisionConfig(**so400m, image_size=384, patch_size=14)
    assert count(on_meta(SiglipVisionModel, vision)) == 428_225_600
    dino = Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14)
    assert count(on_meta(Dinov2Model, dino)) == 304_368_640
    assert count(on_meta(ViTForImageClassification, ViTConfig(num_labels=2))) == 85_800_194
    assert count(on_meta(lambda _: layers_of(768), None)) == 927_969
    vlm = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
    eyes = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584, "patch_size": 14}
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24]}
    qwen = Qwen2_5_VLConfig(
        text_config=vlm | {"vocab_size": 152_064, "rope_parameters": rope}, vision_config=eyes, tie_word_embeddings=False
    )
    assert count(on_meta(Qwen2_5_VLForConditionalGeneration, qwen)) == 8_292_166_656
    vlm = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}
    eyes = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "out_hidden_size": 4096, "patch_size": 16}
    vlm |= {"head_dim": 128, "vocab_size": 151_936, "rope_parameters": {"rope_type": "default", "mrope_section": [24, 20, 20]}}
    eyes |= {"deepstack_visual_indexes": [8, 16, 24], "num_position_embeddings": 2304}
    qwen = Qwen3VLConfig(text_config=vlm, vision_config=eyes, tie_word_embeddings=False)
    assert count(on_meta(Qwen3VLForConditionalGeneration, qwen)) == 8_767_123_696
