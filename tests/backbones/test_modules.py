"""What is read of a network's modules at each call is what diffusers and torch say of it."""

import pytest
import tiny_pipelines
import torch
from torch import nn

from tta_plugins.backbones.modules import dtype_of, hooks_of, modules_of


@pytest.fixture
def unet():
    return tiny_pipelines.unet()


def test_every_module_is_walked(unet):
    assert set(modules_of(unet)) == set(unet.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_is_that_of_diffusers(unet, dtype):
    assert dtype_of(unet.to(dtype)) == unet.dtype == dtype


def test_modules_kept_in_float32_do_not_decide(unet, monkeypatch):
    first = next(name for name, _ in unet.named_parameters()).split(".")[0]
    monkeypatch.setattr(type(unet), "_keep_in_fp32_modules", [first])
    unet.to(torch.bfloat16).get_submodule(first).float()
    assert dtype_of(unet) == unet.dtype == torch.bfloat16


def test_layerwise_casting_computes_in_its_own_dtype(unet):
    unet.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    assert "layerwise_casting" in hooks_of(unet)
    assert dtype_of(unet) == unet.dtype == torch.float32


def test_another_network_tells_its_own():
    class Engine(nn.Module):
        dtype = torch.float16

    assert dtype_of(Engine()) == torch.float16
    assert dtype_of(nn.DataParallel(Engine())) == torch.float16
    assert dtype_of(nn.Identity()) == torch.float32
