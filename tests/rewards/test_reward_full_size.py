"""The published architectures at their full size: the same maps, every tensor placed, the published numbers of parameters."""

import pytest
import torch
from tiny_rewards import numbers
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from tta_plugins.rewards.blip_keys import parts_of, text_config, vision_config
from tta_plugins.rewards.clip_checkpoint import Checkpoint
from tta_plugins.rewards.hpsv2 import HPSv2
from tta_plugins.rewards.imagereward import ImageReward
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


def scored_with_gradient(reward):
    images = torch.rand(1, 3, 256, 320, requires_grad=True)
    scores = reward(images, ["320 2368 593 49407"])
    assert torch.isfinite(scores).all()
    assert torch.autograd.grad(scores.sum(), images)[0].abs().sum() > 0
