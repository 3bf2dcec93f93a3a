"""CLIP-FlanT5's VQAScore on tiny models in the layout of its repository, compared with its two towers called step by step."""

import json
import shutil

import numpy as np
import pytest
import torch
from network_suite import NetworkSuite
from PIL import Image
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tta_core.errors import LoadError
from tta_plugins.rewards.clip_flant5 import CLIPFlanT5, projector_of

PROMPTS = ["a red dog", "2 cats"]
IMAGES = torch.rand(2, 3, 40, 28, generator=torch.Generator().manual_seed(1))
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def words():
    characters = [chr(code) for code in (10, *range(32, 127))]
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "Yes", "yes", *characters])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = Split(Regex(r"^[Yy]es$|[\s\S]"), "isolated")
    made.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def spread(model, deviation=0.3):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=deviation if parameter.dim() > 1 else 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """T5 and the projector in shards with an index, and the image tower in its own repository."""
    folder = tmp_path_factory.mktemp("flant5")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    spread(CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=24, patch_size=8))).save_pretrained(folder / "clip")
    config = T5Config(
        vocab_size=len(words()) + 4,
        d_model=12,
        d_kv=6,
        d_ff=20,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    t5 = spread(T5ForConditionalGeneration(config))
    state = {key: value for key, value in t5.state_dict().items() if not key.endswith("coder.embed_tokens.weight")}
    state["lm_head.weight"] = torch.randn(len(words()) + 4, 12)
    state |= {f"mm_projector.{key}": value for key, value in spread(projector_of(16, 12), 1.0).state_dict().items()}
    state["embed_tokens.weight"] = state["shared.weight"]
    shards = [dict(list(state.items())[part::2]) for part in (0, 1)]
    names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    for name, shard in zip(names, shards, strict=True):
        torch.save(shard, folder / name)
    index = {"weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    told = {key: value for key, value in config.to_dict().items() if key != "scale_decoder_outputs"}
    told |= {"tie_word_embeddings": False, "model_type": "clip_t5", "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2}
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def flant5(place, **changes):
    return CLIPFlanT5(**{"weights": place, "tokenizer": words(), "vision": place / "clip", "dtype": "float32"} | changes)


def transcribed(place, image, prompt, layer=-2, crop=False, every=False, first=False, ends=True):
    """Padding, resizing, image tower, projector, encoder, decoder and softmax, one after another."""
    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    side = max(levels.shape[:2])
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [122, 116, 104]
    top, left = ((side - length) // 2 for length in levels.shape[:2])
    square[top : top + levels.shape[0], left : left + levels.shape[1]] = levels
    processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    pixels = processor(Image.fromarray(levels if crop else square), return_tensors="pt").pixel_values
    state = {key: value for file in place.glob("*.bin") for key, value in torch.load(file).items()}
    t5 = T5ForConditionalGeneration(T5Config(**json.loads((place / "config.json").read_text()) | {"model_type": "t5"})).eval()
    t5.load_state_dict({key: value for key, value in state.items() if key in t5.state_dict() and key != "lm_head.weight"}, strict=False)
    seen, tower = [], CLIPVisionModel.from_pretrained(place / "clip").eval()
    for block in tower.encoder.layers:
        block.register_forward_hook(lambda _, __, out: seen.append(out if isinstance(out, torch.Tensor) else out[0]))
    tower(pixel_values=pixels)
    x = seen[layer][0, 1:] @ state["mm_projector.0.weight"].T + state["mm_projector.0.bias"]
    x = torch.nn.functional.gelu(x) @ state["mm_projector.2.weight"].T + state["mm_projector.2.bias"]
    before, after = f"{SYSTEM} USER: ", f"\n{QUESTION.format(prompt)} ASSISTANT: "
    pieces = [words()(text, return_tensors="pt").input_ids[0] for text in (before, after)]
    pieces = pieces if ends else [pieces[0][:-1], pieces[1]]
    given = torch.cat([state["shared.weight"][pieces[0]], x, state["shared.weight"][pieces[1]]])[None]
    encoded = t5.encoder(inputs_embeds=given).last_hidden_state
    yes = words().convert_tokens_to_ids("Yes")
    out = t5.decoder(input_ids=torch.tensor([[0, yes]]), encoder_hidden_states=encoded).last_hidden_state[0]
    shares = (out @ state["lm_head.weight"].T)[:, : None if every else len(words())].softmax(-1)
    return shares[0, yes] if first else (shares[0, yes] * shares[1, 1]).sqrt()


@torch.no_grad()
def test_it_is_the_mean_probability_of_yes_and_the_end(place):
    found = flant5(place, preprocess="official")(IMAGES, PROMPTS)
    expected = torch.stack([transcribed(place, *pair) for pair in zip(IMAGES, PROMPTS, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    for wrong in ({"layer": -1}, {"crop": True}, {"every": True}, {"first": True}, {"ends": False}):
        assert (transcribed(place, IMAGES[0], PROMPTS[0], **wrong) - found[0]).abs() > 4e-4 * found[0], wrong
    torch.testing.assert_close(flant5(place, scale="log", preprocess="official")(IMAGES, PROMPTS).exp(), found)
    diff = flant5(place)(IMAGES, PROMPTS)
    assert 0 < (diff / found - 1).abs().max() < 0.05


def test_the_gradient_is_that_of_finite_differences(place):
    reward, images = flant5(place, scale="log"), IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(images, PROMPTS)[0], images)
    assert not gradient[1].any()
    step = 2e-3 * gradient / gradient.abs().max()
    change = (reward(IMAGES + step, PROMPTS) - reward(IMAGES - step, PROMPTS))[0]
    assert change.item() == pytest.approx(2 * (step * gradient).sum().item(), rel=0.02)


def test_a_tower_in_the_checkpoint_is_used_first_and_wrong_files_are_refused(place, tmp_path):
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    last = max(tmp_path.glob("*.bin"))
    index = json.loads((tmp_path / "pytorch_model.bin.index.json").read_text())
    tower = {
        f"vision_tower.vision_tower.{key}": 0.5 * value
        for key, value in CLIPVisionModel.from_pretrained(place / "clip").state_dict().items()
    }
    whole = torch.load(last)
    torch.save(whole | tower, last)
    other = flant5(tmp_path, scale="log")(IMAGES, PROMPTS)
    assert (other - flant5(place, scale="log")(IMAGES, PROMPTS)).abs().max() > 1e-4
    torch.save({key: value for key, value in whole.items() if key != "lm_head.weight"}, last)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    first = min(tmp_path.glob("*.bin"))
    torch.save({key: value for key, value in torch.load(first).items() if key not in ("lm_head.weight", "mm_projector.0.bias")}, first)
    with pytest.raises(LoadError, match=r"missing"):
        flant5(tmp_path)
    told = json.loads((place / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"mm_projector_type": "linear"}))
    with pytest.raises(LoadError, match="mm_projector_type='linear'"):
        flant5(tmp_path)


class TestCLIPFlanT5(NetworkSuite):
    @pytest.fixture(scope="class")
    def reward(self, place):
        return flant5(place, scale="log")
