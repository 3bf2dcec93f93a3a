"""MPS on a tiny model with the authors' keys, compared with the formulas of its cross-attention."""

import pytest
import torch
from network_suite import NetworkSuite
from safetensors.torch import load_file, save_file
from tiny_rewards import numbers
from torch.nn.functional import layer_norm, silu
from transformers import CLIPConfig, CLIPModel

from tta_core.errors import LoadError
from tta_plugins.rewards.mps import MPS

WIDTH, HEADS, HEAD, IMAGES = 16, 4, 8, torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
PROMPTS = ["3 5", "7", "9 2 4"]
CONDITION = "11 12 13"
SIDES = (HEADS * HEAD, HEAD, HEAD, 8 * WIDTH)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mps")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu"}
    text = {**sizes, "vocab_size": 60, "max_position_embeddings": 8, "eos_token_id": 2}
    config = CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=WIDTH)
    state = {
        f"model.{key}": torch.randn_like(value) * 0.3 for key, value in CLIPModel(config).state_dict().items() if value.is_floating_point()
    }
    state["model.logit_scale"] = torch.tensor(2.0)
    cross = {"to_q": (SIDES[0], WIDTH), "to_kv": (2 * HEAD, WIDTH), "to_out": (WIDTH, SIDES[0])}
    cross |= {"ff.0": (8 * WIDTH, WIDTH), "ff.2": (WIDTH, 4 * WIDTH)}
    alone = {"fused_attn_ff_proj": (sum(SIDES), WIDTH), "attn_out": (WIDTH, SIDES[0]), "ff_out.1": (WIDTH, 4 * WIDTH)}
    for layer in range(2):
        for block, shapes in enumerate((cross, alone)):
            prefix = f"cross_model.layers.{layer}.{block}.fn."
            state |= {f"{prefix}{name}.weight": torch.randn(shape) * 0.3 for name, shape in shapes.items()}
            state |= {f"{prefix}norm.weight": 1 + 0.2 * torch.randn(WIDTH), f"{prefix}norm.bias": torch.zeros(WIDTH)}
        state[f"cross_model.layers.{layer}.1.fn.rotary_emb.inv_freq"] = 10000 ** -(torch.arange(0, HEAD, 2) / HEAD)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "MPS_overall.safetensors")
    torch.save(config, folder / "config.pt")
    return folder


def mps(place, **changes):
    return MPS(**{"weights": place, "tokenizer": numbers(60), "condition": CONDITION, "head_widths": (12, 12), "threshold": 0.9} | changes)


def attended(query, key, value, allowed, turn):
    """Attention head by head and row by row: the softmax of the scaled products, with one mask for all heads."""
    heads = []
    for q in query.split(HEAD, dim=-1):
        k = key
        if turn:
            rates = torch.tensor([10000 ** (-2 * pair / HEAD) for pair in range(HEAD // 2)])
            angle = torch.arange(len(query))[:, None] * rates
            halves = (x.split(HEAD // 2, -1) for x in (q, key))
            q, k = (torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1) for a, b in halves)
        scores = (q @ k.T / HEAD**0.5).masked_fill(~allowed, -torch.inf)
        heads.append(scores.softmax(-1) @ value)
    return torch.cat(heads, -1)


def transcribed(place, images, prompts, threshold=0.9, turn=True, normed=False, padded=True):
    state = load_file(place / "MPS_overall.safetensors")
    model = CLIPModel(torch.load(place / "config.pt", weights_only=False)).eval()
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}, strict=False)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]))
    found = []
    for image, prompt in zip(images, prompts, strict=True):
        hidden = model.vision_model(pixel_values=((image - mean) / std)[None]).last_hidden_state
        x = model.visual_projection(model.vision_model.post_layernorm(hidden) if normed else hidden)[0]
        read = {}
        for text in (prompt, CONDITION):
            ids = numbers(60)(text, **({"padding": "max_length"} if padded else {}), max_length=8, return_tensors="pt").input_ids
            out = model.text_model(input_ids=ids)
            read[text] = model.text_projection(out.last_hidden_state)[0], model.text_projection(out.pooler_output)[0]
        words, end = read[prompt]
        alike = (words @ read[CONDITION][0].T).max(dim=1).values
        allowed = alike / alike.max() > threshold
        for layer in range(2):
            w = {key.split(".fn.")[1]: value for key, value in state.items() if key.startswith(f"cross_model.layers.{layer}.0.")}
            y = layer_norm(x, (WIDTH,), w["norm.weight"])
            key, value = (words @ w["to_kv.weight"].T).split(HEAD, -1)
            left, gate = (y @ w["ff.0.weight"].T).chunk(2, -1)
            x = (
                x
                + attended(y @ w["to_q.weight"].T, key, value, allowed, False) @ w["to_out.weight"].T
                + (silu(gate) * left) @ w["ff.2.weight"].T
            )
            w = {key.split(".fn.")[1]: value for key, value in state.items() if key.startswith(f"cross_model.layers.{layer}.1.")}
            y = layer_norm(x, (WIDTH,), w["norm.weight"])
            query, key, value, inner = (y @ w["fused_attn_ff_proj.weight"].T).split(SIDES, -1)
            left, gate = inner.chunk(2, -1)
            everything = torch.ones(len(x), dtype=torch.bool)
            x = x + attended(query, key, value, everything, turn) @ w["attn_out.weight"].T + (silu(gate) * left) @ w["ff_out.1.weight"].T
        found.append(state["model.logit_scale"].exp() * torch.cosine_similarity(x[0], end, dim=0))
    return torch.stack(found)


def test_scores_and_gradients_are_those_of_the_formulas(place):
    reward, images = mps(place), IMAGES.clone().requires_grad_()
    found, expected = reward(images, PROMPTS), transcribed(place, images, PROMPTS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    one, other = (torch.autograd.grad(scores.sum(), images)[0] for scores in (found, expected))
    assert (one - other).norm() < 1e-3 * other.norm()
    wrong = {
        "no mask": {"threshold": -torch.inf},
        "no rotation": {"turn": False},
        "normed": {"normed": True},
        "no padding": {"padded": False},
    }
    for name, choice in wrong.items():
        assert (transcribed(place, IMAGES, PROMPTS, **choice) - found).abs().max() > 0.01, name
    official = mps(place, preprocess="official")(IMAGES, PROMPTS)
    assert 0 < (official - found).abs().max() < 0.05 * found.std()


def test_the_mask_depends_on_its_own_prompt_only(place):
    reward = mps(place)
    together = reward(IMAGES, PROMPTS)
    alone = torch.stack([mps(place)(IMAGES[n : n + 1], PROMPTS[n : n + 1])[0] for n in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    masks = [reward._parts._known[prompt].mask for prompt in PROMPTS]
    assert any(not mask.all() for mask in masks)
    assert all(mask.any() for mask in masks)


def test_other_files_are_refused(place, tmp_path):
    state = load_file(place / "MPS_overall.safetensors")
    for lost in ("cross_model.layers.1.1.fn.attn_out.weight", "cross_model.layers.0.0.fn.to_q.weight", "model.logit_scale"):
        save_file({key: value for key, value in state.items() if key != lost}, tmp_path / "MPS_overall.safetensors")
        with pytest.raises(LoadError, match="1 missing"):
            mps(tmp_path)
    save_file(state | {"other.weight": torch.zeros(1)}, tmp_path / "MPS_overall.safetensors")
    with pytest.raises(LoadError, match=r"1 unknown \(other\.weight\)"):
        mps(tmp_path)


class TestMPS(NetworkSuite):
    tolerance = 1e-4
    pytestmark = pytest.mark.filterwarnings("ignore:MPS reads")

    @pytest.fixture(scope="class")
    def reward(self, place):
        return mps(place)
