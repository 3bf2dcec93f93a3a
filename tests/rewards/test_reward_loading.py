"""Loading is complete or an error that names the file: no random weights and no silent guesses."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_rewards import (
    AESTHETIC_FILE,
    CLIP_FOLDER,
    HPS_FILE,
    IMAGEREWARD_FILE,
    aesthetic,
    as_images,
    clip,
    hps,
    imagereward,
    numbers,
    prompts_of,
    recorded,
    wide_clip,
)
from transformers import CLIPModel

from tta_core.errors import InputError, LoadError
from tta_plugins.rewards.aesthetic import Aesthetic
from tta_plugins.rewards.clip import CLIPScore
from tta_plugins.rewards.pickscore import PickScore

HUB = "tta_plugins.rewards.weight_files.hf_hub_download"

REWARDS = {
    "hps": (hps.__wrapped__, HPS_FILE, "visual.ln_pre.weight"),
    "imagereward": (imagereward.__wrapped__, IMAGEREWARD_FILE, "blip.visual_encoder.norm.bias"),
    "imagereward's text": (imagereward.__wrapped__, IMAGEREWARD_FILE, "blip.text_encoder.encoder.layer.1.crossattention.self.key.bias"),
    "imagereward's head": (imagereward.__wrapped__, IMAGEREWARD_FILE, "mlp.layers.7.bias"),
}
EACH = pytest.mark.parametrize(("make", "file", "key"), REWARDS.values(), ids=REWARDS)


def checkpoint(file):
    content = torch.load(file, weights_only=True)
    return content.get("state_dict", content)


def saved(state, tmp_path, name="weights.pt"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def clip_folder(tmp_path, state=None, config=None):
    """A copy of the tiny CLIP in a newer layout of the hub: safetensors, without the buffers of 2022."""
    state = state or {key: value for key, value in checkpoint(CLIP_FOLDER / "pytorch_model.bin").items() if "position_ids" not in key}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config or json.loads((CLIP_FOLDER / "config.json").read_text())))
    return tmp_path


@EACH
def test_a_missing_key_is_named(make, file, key, tmp_path):
    state = checkpoint(file)
    del state[key]
    ending = ".".join(key.split(".")[-2:]).removeprefix("ln_pre.").removeprefix("norm.")
    with pytest.raises(LoadError, match=rf"weights\.pt.*1 missing \(.*{ending}"):
        make(weights=saved(state, tmp_path))


@EACH
def test_a_wrong_shape_is_named(make, file, key, tmp_path):
    state = checkpoint(file)
    state[key] = torch.zeros(5)
    with pytest.raises(LoadError, match=r"weights\.pt.*(shape|follow)"):
        make(weights=saved(state, tmp_path))


def test_an_unknown_key_is_refused_where_the_official_loader_is_strict(tmp_path):
    with pytest.raises(LoadError, match=r"weights\.pt.*'visual\.extra'"):
        hps.__wrapped__(weights=saved(checkpoint(HPS_FILE) | {"visual.extra": torch.zeros(1)}, tmp_path))
    with pytest.raises(LoadError, match=r"1 unknown \(layers\.1\.weight\)"):
        Aesthetic(saved(torch.load(AESTHETIC_FILE, weights_only=True) | {"layers.1.weight": torch.zeros(1)}, tmp_path))
    state = checkpoint(CLIP_FOLDER / "pytorch_model.bin") | {"vision_model.extra": torch.zeros(1)}
    with pytest.raises(LoadError, match=r"1 unknown \(vision_model\.extra\)"):
        CLIPScore(clip_folder(tmp_path, state), tokenizer=numbers(120))
    with pytest.raises(LoadError, match=r"1 unknown \(extra\)"):
        CLIPScore(clip_folder(tmp_path, state | {"extra": torch.zeros(1)}), tokenizer=numbers(120))


@pytest.mark.parametrize("key", ["blip.itm_head.weight", "blip.text_encoder.extra", "blip.visual_encoder.extra"])
def test_an_unknown_key_of_imagereward_warns(key, tmp_path):
    with pytest.warns(UserWarning, match="not used: 1 unknown"):
        imagereward.__wrapped__(weights=saved(checkpoint(IMAGEREWARD_FILE) | {key: torch.zeros(1)}, tmp_path))


def test_a_wrapped_a_prefixed_and_a_half_file_are_the_same_reward(tmp_path):
    io = recorded("hpsv2_tiny")
    images, prompts = as_images(io["pixel_values"]), prompts_of("hpsv2_tiny", io)
    for state in (checkpoint(HPS_FILE), {f"module.{key}": value.float() for key, value in checkpoint(HPS_FILE).items()}):
        reward = hps.__wrapped__(weights=saved(state, tmp_path))
        assert next(reward.networks["vision"].parameters()).dtype == torch.float32
        assert torch.equal(reward(images, prompts), hps()(images, prompts))


def test_a_folder_is_searched_for_the_file_of_that_version(tmp_path):
    shutil.copy(HPS_FILE, tmp_path / "HPS_v2_compressed.pt")
    assert hps.__wrapped__(weights=str(tmp_path)).card.version.startswith("v2.0")
    with pytest.raises(LoadError, match=r"holds no HPS_v2\.1_compressed\.pt"):
        hps.__wrapped__(weights=tmp_path, version="2.1")


def test_a_truncated_file_is_named_with_its_size_and_a_remedy(tmp_path):
    for source, name in ((HPS_FILE, "cut.pt"), (clip_folder(tmp_path) / "model.safetensors", "cut.safetensors")):
        (tmp_path / name).write_bytes(source.read_bytes()[:5000])
        with pytest.raises(LoadError, match=rf"{name} \(5,000 bytes\).*download it again"):
            hps.__wrapped__(weights=tmp_path / name)


def test_a_file_with_code_in_it_is_refused(tmp_path):
    with pytest.raises(LoadError, match="cannot be read as weights"):
        hps.__wrapped__(weights=saved({"state_dict": pytest.fail}, tmp_path))
    with pytest.raises(LoadError, match="not a dictionary of tensors"):
        hps.__wrapped__(weights=saved([torch.zeros(1)], tmp_path))


@pytest.mark.parametrize("where", ["/nowhere/HPS.pt", "not/a/hub/id", "nonsense"])
def test_an_absent_file_is_an_error_with_the_expected_names(where):
    with pytest.raises(LoadError, match=f"{where}.*not a hub id"):
        hps.__wrapped__(weights=where)


def test_a_hub_failure_names_the_repository_and_explains_the_use_without_a_network(monkeypatch):
    def unreachable(repository, name, revision):
        raise ConnectionError(f"no route to {repository}/{name}")

    monkeypatch.setattr(HUB, unreachable)
    with pytest.raises(LoadError, match=r"'xswu/HPSv2'.*no route.*weights='/path/to/folder'"):
        hps.__wrapped__(weights="xswu/HPSv2")


def test_a_hub_file_is_found_by_repository_and_name(monkeypatch):
    asked = []
    monkeypatch.setattr(HUB, lambda *where, revision: asked.append(where) or str(HPS_FILE))
    reward = hps.__wrapped__(weights="xswu/HPSv2")
    assert asked == [("xswu/HPSv2", "HPS_v2_compressed.pt")]
    assert reward.card.weights.startswith("xswu/HPSv2: HPS_tiny_compressed.pt (sha256 ")


def test_a_clip_file_without_its_folder_is_refused():
    with pytest.raises(LoadError, match="Give the folder"):
        CLIPScore(CLIP_FOLDER / "pytorch_model.bin", tokenizer=numbers(120))


def test_a_folder_without_a_tokenizer_is_refused():
    for make in (CLIPScore, lambda weights: PickScore(weights, tokenizer=weights)):
        with pytest.raises(LoadError, match=r"clip_hf_tiny_gelu holds no tokenizer\.json or vocab\.json"):
            make(CLIP_FOLDER)
    with pytest.raises(LoadError, match=r"clip_hf_tiny_gelu holds no vocab\.txt"):
        imagereward.__wrapped__(tokenizer=CLIP_FOLDER)


def test_a_tokenizer_of_another_model_is_refused():
    for make in (hps, clip, imagereward):
        with pytest.raises(LoadError, match=r"has 12\d tokens, but the text tower has"):
            make.__wrapped__(tokenizer=numbers(121))


def test_a_vocabulary_alone_is_a_bert_tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "circle"]))
    reward = imagereward.__wrapped__(tokenizer=tmp_path)
    ids, mask = reward._blip._tokens("A red  Circle")
    assert ids.tolist() == [2, 5, 6, 7, 3] + [0] * 30
    assert mask.sum() == 5


def test_half_safetensors_and_a_folders_own_normalisation_and_size(tmp_path):
    halves = {key: value.half() for key, value in checkpoint(CLIP_FOLDER / "pytorch_model.bin").items() if "position_ids" not in key}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}))
    reward = CLIPScore(clip_folder(tmp_path, halves), tokenizer=numbers(120))
    assert all(parameter.dtype == torch.float32 for parameter in reward.networks["vision"].parameters())
    assert reward._cosine.pixels.size == 56
    assert reward._cosine.pixels(torch.full((1, 3, 9, 9), 0.5)).abs().max() < 1e-6
    assert reward(torch.rand(1, 3, 30, 40), ["4"]).shape == (1,)


def test_a_folder_that_save_pretrained_wrote_loads(tmp_path):
    CLIPModel.from_pretrained(CLIP_FOLDER).save_pretrained(tmp_path)
    io = recorded("clip_hf_tiny_gelu")
    images, prompts = as_images(io["pixel_values"]), prompts_of("clip_hf_tiny_gelu", io)
    again = CLIPScore(tmp_path, tokenizer=numbers(120), preprocess="reno")
    torch.testing.assert_close(again(images, prompts), clip()(images, prompts))


def test_a_head_for_another_clip_is_refused(tmp_path):
    with pytest.raises(LoadError, match=r"takes 32 features, but that CLIP has 24"):
        Aesthetic(AESTHETIC_FILE, clip=CLIP_FOLDER)
    assert "other than the official" in aesthetic(tmp_path).card.version
    assert wide_clip(tmp_path) == tmp_path


def test_wrong_options_are_refused_before_anything_is_read():
    with pytest.raises(InputError, match="official, official-no-antialias, diff"):
        hps.__wrapped__(preprocess="date", weights="/nowhere")
    with pytest.raises(Exception, match="scale"):
        clip.__wrapped__(scale="percent")


def test_loading_prints_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        imagereward.__wrapped__()


def parts_of_a_clip():
    state = {key: value for key, value in checkpoint(CLIP_FOLDER / "pytorch_model.bin").items() if "position_ids" not in key}
    keys = sorted(state)
    return state, keys[: len(keys) // 2], keys[len(keys) // 2 :]


def scored(folder):
    return CLIPScore(folder, tokenizer=numbers(120))(torch.full((1, 3, 20, 20), 0.3), ["4"])


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_with_an_index_are_one_checkpoint(tmp_path, suffix):
    state, *halves = parts_of_a_clip()
    shutil.copy(CLIP_FOLDER / "config.json", tmp_path)
    stem, save = ("model", save_file) if suffix == "safetensors" else ("pytorch_model", torch.save)
    names = {}
    for number, keys in enumerate(halves):
        name = f"{stem}-0000{number}.{suffix}"
        save({key: state[key] for key in keys}, tmp_path / name)
        names |= dict.fromkeys(keys, name)
    index = tmp_path / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    torch.testing.assert_close(scored(tmp_path), scored(CLIP_FOLDER))
    (tmp_path / name).unlink()
    for damage, said in ("[" * 100_000, "cannot be read as an index"), ('{"weight_map": {"a": 5}}', "names the shard 5"):
        whole = index.read_text()
        index.write_text(damage)
        with pytest.raises(LoadError, match=said):
            scored(tmp_path)
        index.write_text(whole)
    with pytest.raises(LoadError, match=rf"names the shard '{name}', which is not in its folder"):
        scored(tmp_path)
    index.write_text("{}")
    with pytest.raises(LoadError, match="cannot be read as an index of shards"):
        scored(tmp_path)


def test_half_precision_variants_wrappers_and_numbers_beside_are_read(tmp_path):
    state, *_ = parts_of_a_clip()
    shutil.copy(CLIP_FOLDER / "config.json", tmp_path)
    save_file({key: value.half() for key, value in state.items()}, tmp_path / "model.fp16.safetensors")
    torch.testing.assert_close(scored(tmp_path), scored(CLIP_FOLDER), atol=1e-2, rtol=0)
    (tmp_path / "model.fp16.safetensors").unlink()
    wrapped = {f"module._orig_mod.{key}": value for key, value in state.items()}
    beside = {"epoch": np.int64(3), "loss": np.float64(0.5), "best": np.float32(0.1)}
    torch.save({"state_dict": wrapped, **beside}, tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(scored(tmp_path), scored(CLIP_FOLDER))


@pytest.mark.parametrize("damage", ["config", "text", "integers", "keys", "normalisation", "scale"])
def test_damaged_folders_are_one_load_error(tmp_path, damage):
    state, *_ = parts_of_a_clip()
    shutil.copy(CLIP_FOLDER / "config.json", tmp_path)
    if damage in ("config", "text"):
        (tmp_path / "config.json").write_text('{"vision_config": ' if damage == "config" else '"text"')
    if damage == "integers":
        state["vision_model.post_layernorm.weight"] = state["vision_model.post_layernorm.weight"].long()
    if damage == "scale":
        state["logit_scale"] = torch.ones(2)
    if damage == "normalisation":
        (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
    torch.save({7: torch.zeros(1)} if damage == "keys" else state, tmp_path / "pytorch_model.bin")
    with pytest.raises(LoadError):
        scored(tmp_path)


def test_a_hub_id_may_name_its_revision(monkeypatch):
    asked = []
    monkeypatch.setattr(HUB, lambda *where, **told: asked.append((where, told)) or str(HPS_FILE))
    reward = hps.__wrapped__(weights="xswu/HPSv2@0123abc")
    assert asked == [(("xswu/HPSv2", "HPS_v2_compressed.pt"), {"revision": "0123abc"})]
    assert reward.card.weights.startswith("xswu/HPSv2@0123abc: ")
