"""The facts that are read from a network's modules once per run agree with diffusers and torch."""

import pytest
import tiny_pipelines
import torch
from torch import nn

from tta_plugins.backbones.modules import Modules


@pytest.fixture
def unet():
    return tiny_pipelines.unet()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_is_that_of_diffusers(unet, dtype):
    assert Modules.of(unet.to(dtype)).dtype == unet.dtype == dtype


def test_layerwise_casting_computes_in_its_own_dtype(unet):
    unet.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    read = Modules.of(unet)
    assert "layerwise_casting" in dict(read.hooks)
    assert read.dtype == torch.float32


def test_another_network_has_its_own_dtype():
    class Engine(nn.Module):
        dtype = torch.float16

    assert Modules.of(Engine()).dtype == Modules.of(nn.DataParallel(Engine())).dtype == torch.float16
    assert Modules.of(nn.Identity()).dtype == torch.float32


def test_they_are_read_again_when_the_network_is_cast_or_replaced(unet):
    read = Modules.of(unet)
    assert read.hold(unet)
    assert not read.hold(tiny_pipelines.unet())
    assert not read.hold(unet.half())


def test_layers_of_integers_are_quantised():
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    assert Modules.of(nn.Sequential(nn.Linear(2, 2), layer)).quantised == ("1",)


def test_facts_read_again_are_the_same_object_until_they_change(unet):
    read = Modules.of(unet)
    assert Modules.of(unet, read) is read
    assert Modules.of(tiny_pipelines.unet(), read) is not read
    unet.mid_block.half()
    cast = Modules.of(unet, read)
    assert cast is not read
    unet.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    assert "layerwise_casting" in dict(Modules.of(unet, cast).hooks)


def test_modules_in_a_circle_are_read_once():
    inner, outer = nn.Linear(2, 2), nn.Sequential()
    outer.append(inner)
    inner.add_module("back", outer)
    assert len(Modules.of(outer).weights) == 2
