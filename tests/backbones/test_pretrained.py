"""A folder is loaded in the dtype and onto the device that one asks for, or that this computer suggests."""

import pytest
import torch

import tta_core
from tta_core.errors import InputError
from tta_core.plugins.resolve import backbone as resolved
from tta_plugins.backbones.pretrained import load_pipeline


def dtypes(pipe):
    return {parameter.dtype for network in resolved(pipe).networks.values() for parameter in network.parameters()}


def test_a_folder_is_loaded_in_the_dtype_and_onto_the_device_asked_for(folders):
    loaded = load_pipeline(str(folders("sd")), torch.bfloat16, "cpu")
    assert dtypes(loaded) == {torch.bfloat16}
    assert resolved(loaded).device == torch.device("cpu")
    has_gpu = torch.cuda.is_available()
    by_default = load_pipeline(str(folders("sd")))
    assert dtypes(by_default) == {torch.bfloat16 if has_gpu else torch.float32}
    assert resolved(by_default).device.type == ("cuda" if has_gpu else "cpu")
    with pytest.raises(InputError, match="'cudda' is no device"):
        load_pipeline(str(folders("sd")), device="cudda")


def test_the_record_tells_the_folder_the_sampler_and_the_dtype(folders):
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
