"""A folder is loaded with the requested dtype and device, or with the defaults for this computer."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import tta_core
from tta_core.errors import IncompatibleError, InputError, LoadError
from tta_core.plugins.resolve import backbone as resolved
from tta_plugins.backbones.pretrained import load_pipeline


def dtypes(pipe):
    return {parameter.dtype for network in resolved(pipe).networks.values() for parameter in network.parameters()}


def test_a_folder_is_loaded_with_the_requested_dtype_and_device(folders):
    loaded = load_pipeline(str(folders("sd")), torch.bfloat16, "cpu")
    assert dtypes(loaded) == {torch.bfloat16}
    assert resolved(loaded).device == torch.device("cpu")
    has_gpu = torch.cuda.is_available()
    by_default = load_pipeline(str(folders("sd")))
    assert dtypes(by_default) == {torch.bfloat16 if has_gpu else torch.float32}
    assert resolved(by_default).device.type == ("cuda" if has_gpu else "cpu")
    with pytest.raises(InputError, match="'cudda' is not a device"):
        load_pipeline(str(folders("sd")), device="cudda")


def test_the_record_has_the_folder_the_sampler_and_the_dtype(folders):
    loaded = load_pipeline(str(folders("sd")), torch.bfloat16, "cpu")

    def manifest(scheduler):
        return tta_core.align("a red circle", backbone=loaded, method="fixed", reward="brightness", steps=3, scheduler=scheduler).manifest

    ddim, dpm = manifest("ddim"), manifest("dpm++2m")
    assert f"StableDiffusionPipeline from {folders('sd')}" in ddim["backbone"]
    assert ddim["dtypes"] == dict.fromkeys(("denoiser", "decoder", "text_encoder"), "torch.bfloat16")
    assert (ddim["sampler"]["asked"], ddim["sampler"]["native"]) == ("ddim", "DDIMScheduler")
    assert (dpm["sampler"]["asked"], dpm["sampler"]["native"]) == ("dpm++2m", "DDIMScheduler")
    assert ddim["sampler"]["table"] != dpm["sampler"]["table"]


def test_a_folder_of_one_variant_is_read_as_that_variant(tmp_path, pipelines):
    pipelines("sd").save_pretrained(tmp_path / "half", variant="fp16")
    assert dtypes(load_pipeline(str(tmp_path / "half"), torch.float32, "cpu")) == {torch.float32}


@pytest.fixture
def copied(folders, tmp_path):
    """A copy of a folder, which a test may damage."""
    return shutil.copytree(folders("sd"), tmp_path / "copied")


def refused(folder, match):
    with pytest.raises(LoadError, match=match):
        load_pipeline(str(folder), torch.float32, "cpu")


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_weights_that_are_missing_or_of_another_model_are_named(copied, part):
    (file,) = (copied / part).glob("*.safetensors")
    weights = load_file(file)
    key = next(key for key in weights if key.endswith("weight"))
    kept = weights.pop(key)
    save_file(weights, file, metadata={"format": "pt"})
    refused(copied, f"weights of {part} .* lack")
    save_file({**weights, key: kept, "stranger.weight": kept.clone()}, file, metadata={"format": "pt"})
    refused(copied, "stranger.weight")


def test_a_tokenizer_without_its_vocabulary_is_refused(copied):
    for file in (copied / "tokenizer").iterdir():
        if file.name != "tokenizer_config.json":
            file.unlink()
    refused(copied, "tokenizer .* has no vocabulary")
    shutil.rmtree(copied / "tokenizer")
    refused(copied, "no folder 'tokenizer'")


def rewritten(folder, **changes):
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["pipeline", "Mine"]},
        {"_class_name": "NoSuchPipeline"},
        {"unet": ["my_unet", "MyUNet"]},
        {"unet": ["stranger_module", "MyUNet"]},
        {"unet": ["diffusers.utils", "MyUNet"]},
        {"scheduler": ["os", "system"]},
        {"unet": ["diffusers", "UNet2DConditionModel", "more"]},
    ],
)
def test_code_in_a_folder_is_refused_before_it_runs(copied, changes, monkeypatch):
    ran = copied / "ran"
    code = f"open({str(ran)!r}, 'w').close()"
    for place in ("pipeline.py", "unet/my_unet.py", "stranger_module.py"):
        (copied / place).write_text(code)
    monkeypatch.syspath_prepend(str(copied))
    rewritten(copied, **changes)
    refused(copied, "code|no such pipeline|no class")
    assert not ran.exists()
    assert "stranger_module" not in sys.modules


def test_code_named_in_a_parts_configuration_is_refused(copied):
    config = copied / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}))
    refused(copied, "auto_map")


def test_a_diffusers_without_a_pipeline_or_its_mask_is_an_error_with_the_version_to_install(copied, monkeypatch):
    import diffusers

    rewritten(copied, _class_name="ZImagePipeline")
    with monkeypatch.context() as older:
        older.setattr(diffusers, "ZImagePipeline", None, raising=False)
        refused(copied, r"is a ZImagePipeline, but diffusers .* has no such pipeline\. Install diffusers 0\.36 or later")
    qwen = type("QwenImagePipeline", (), {})()
    monkeypatch.setattr(diffusers, "__version__", "0.36.0")
    with pytest.raises(IncompatibleError, match=r"Cannot use QwenImagePipeline with diffusers 0\.36\.0.* Install diffusers 0\.37 or later"):
        resolved(qwen)


def changed(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_damaged_configuration_is_named(copied):
    file = copied / "scheduler" / "scheduler_config.json"
    whole = file.read_text()
    for text, said in (("{}", "does not name its class"), ("[" * 100_000, "is damaged"), ("[]", "holds a list")):
        file.write_text(text)
        refused(copied, f"scheduler_config.json {said}" if "name" not in said else said)
    file.write_text(whole)
    changed(copied / "vae" / "config.json", scaling_factor=0.0)
    with pytest.raises(InputError, match=r"scaling_factor of this StableDiffusionPipeline's vae is 0.0"):
        resolved(str(copied))


@pytest.mark.parametrize("tokens", [0, 10**30])
def test_a_tokenizer_that_does_not_fit_its_encoder_is_refused(copied, tokens):
    changed(copied / "tokenizer" / "tokenizer_config.json", model_max_length=tokens)
    refused(copied, "does not fit its text encoder")


def test_integer_weights_are_refused(copied):
    (file,) = (copied / "unet").glob("*.safetensors")
    save_file({key: (value * 100).to(torch.int8) for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    refused(copied, "holds I8 numbers, but weights are floats")


def test_arguments_that_would_be_ignored_are_refused(folders):
    with pytest.raises(InputError, match="takes a torch dtype of floats"):
        load_pipeline(str(folders("sd")), torch.int8, "cpu")
    with pytest.raises(InputError, match="is a folder, which has none"):
        load_pipeline(str(folders("sd")), torch.float32, "cpu", revision="main")


def test_a_folder_below_home_is_found(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders("sd").parent))
    assert resolved(f"~/{folders('sd').name}").device.type == "cpu"


def test_a_pipeline_without_a_part_is_refused(folders):
    def without(part):
        pipeline = load_pipeline(str(folders("sd")), torch.float32, "cpu")
        setattr(pipeline, part, None)
        return pipeline

    for part in ("unet", "vae"):
        with pytest.raises(InputError, match=f"was loaded without its {part}"):
            resolved(without(part))
    with pytest.raises(IncompatibleError, match="was loaded without its tokenizer"):
        resolved(without("tokenizer")).encode(["a"], 32, 32)


def test_networks_of_inference_mode_are_refused(folders):
    with torch.inference_mode():
        pipeline = load_pipeline(str(folders("sd")), torch.float32, "cpu")
    with pytest.raises(InputError, match=r"loaded under torch.inference_mode\(\)"):
        tta_core.align("a red circle", backbone=pipeline, method="fixed", reward="brightness", steps=1)


def test_a_prompt_that_clip_cuts_gives_a_warning(pipelines, recwarn):
    backbone = resolved(pipelines("sd"))
    backbone.encode(["red"], 32, 32)
    backbone.encode_null([None], 32, 32)
    assert not [warning for warning in recwarn if "is ignored" in str(warning.message)]
    for use in (backbone.encode, backbone.encode_null):
        with pytest.warns(UserWarning, match=r"StableDiffusionPipeline reads 77 tokens, .* is ignored"):
            use(["red " * 100], 32, 32)
