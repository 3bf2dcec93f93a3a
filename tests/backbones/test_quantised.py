"""Denoisers with quantised layers: steered with the gradients of their dequantised weights, or refused by name."""

import copy
import warnings

import pytest
import torch
from stock import PROMPTS, backbone, brightness, prepared
from torch import nn

import tta_core
from tta_core import steering_hook
from tta_core.errors import IncompatibleError
from tta_core.plugins.resolve import backbone as resolved
from tta_core.values.schedules import Every
from tta_plugins.methods.baselines import BestOfN
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA

SIZE = {"steps": 2, "height": 32, "width": 32}


class WeightOnly(nn.Module):
    """A linear layer with weight-only quantisation: integers and scales, multiplied at each call."""

    def __init__(self, layer):
        super().__init__()
        self.scale = layer.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((layer.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = layer.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias)


class WithoutBackward(WeightOnly):
    """A quantised layer without a backward, as in libraries that also quantise activations."""

    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


def replaced(network, kind):
    """The network with each linear layer inside its blocks replaced."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, kind(child))


def by_quanto(network):
    quanto = pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed: its int8 layers are not tried")
    quanto.quantize(network, weights=quanto.qint8)
    quanto.freeze(network)


def by_torchao(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed: its int8 layers are not tried")
    torchao.quantize_(network, torchao.Int8WeightOnlyConfig())


def by_bitsandbytes(network):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: its 4-bit layers are not tried")

    def packed(layer):
        made = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=torch.float32, quant_type="nf4"
        )
        made.load_state_dict(layer.state_dict())
        return made.to("cpu")  # this packs the weights

    replaced(network, packed)


QUANTISERS = {
    "plain": lambda network: replaced(network, WeightOnly),
    "quanto": by_quanto,
    "torchao": by_torchao,
    "bitsandbytes": by_bitsandbytes,
}


def denoiser(pipe):
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def dequantised(pipe, quantised):
    """The pipeline with the dequantised weights of the quantised layers."""
    plain = copy.deepcopy(pipe)
    for (_, layer), (_, packed) in zip(denoiser(plain).named_modules(), denoiser(quantised).named_modules(), strict=True):
        if hasattr(getattr(packed, "weight", None), "quant_state"):
            import bitsandbytes

            layer.weight.data = bitsandbytes.functional.dequantize_4bit(packed.weight, packed.weight.quant_state).float()
        elif isinstance(layer, nn.Linear | nn.Conv2d) and type(packed.weight) is not nn.Parameter:
            layer.weight.data = packed.weight.dequantize().detach().float()
        elif isinstance(packed, WeightOnly):
            layer.weight.data = packed.weight.float() * packed.scale
    return plain


@pytest.mark.parametrize("quantiser", QUANTISERS)
@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_gradients_are_those_of_the_dequantised_weights(name, quantiser, pipelines):
    packed = copy.deepcopy(pipelines(name))
    QUANTISERS[quantiser](denoiser(packed))
    gradients = []
    for pipe in (packed, dequantised(pipelines(name), packed)):
        with prepared(name, pipe, 2) as problem:
            leaves = [leaf.clone().requires_grad_() for leaf in (problem.controls.noise, problem.controls.text.tokens)]
            null = problem.controls.null.tokens.clone().requires_grad_()
            text = tta_core.Embedding(leaves[1], problem.controls.text.pooled)
            controls = tta_core.Controls(text, tta_core.Embedding(null, problem.controls.null.pooled), leaves[0])
            images = problem.backbone.decode(problem.sample(controls))
            gradients.append(torch.autograd.grad(images.square().sum(), (*leaves, null)))
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.norm() > 0
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.parametrize("method", [DATE(updates=Every(1)), NullTTA(particles=1, inner_min=1, inner_max=1, kernel="sampler"), DNO(1)])
def test_methods_steer_quantised_denoisers(method, pipelines):
    packed = copy.deepcopy(pipelines("sd"))
    replaced(packed.unet, WeightOnly)
    assert resolved(packed).dtype == torch.float32
    run = tta_core.align(PROMPTS, backbone=packed, method=method, reward=brightness, eta=1.0, **SIZE)
    assert not torch.equal(run.result.pixels, run.baseline.pixels)
    assert all(after >= before - 1e-5 for after, before in zip(run.result.scores, run.baseline.scores, strict=True))


def test_layers_without_a_backward_are_refused_by_name(pipelines):
    """The output of the denoiser has a graph even so, because of the residual connections around the layer."""
    packed = copy.deepcopy(pipelines("sd"))
    name = [name for name, _ in packed.unet.named_modules() if name.endswith("attn2.to_q")][-1]
    parent, last = packed.unet.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
    setattr(parent, last, WithoutBackward(getattr(parent, last)))
    options = {"backbone": packed, "reward": brightness, **SIZE}
    with pytest.raises(IncompatibleError, match=rf"{name} is quantised \(Parameter\) and has no backward"):
        tta_core.align(PROMPTS, method=DATE(updates=Every(1)), **options)
    with (
        pytest.raises(IncompatibleError, match="has no backward"),
        steering_hook(backbone("sd", packed), DATE(updates=Every(1)), brightness, prompts=PROMPTS),
    ):
        packed(PROMPTS, num_inference_steps=2, height=32, width=32)
    assert torch.isfinite(tta_core.align(PROMPTS, method=BestOfN(2), **options).result.pixels).all()
