"""Half precision: which networks are cast, what is scaled, and what stays float32."""

import attrs
import pytest
import torch
from torch import nn

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.memory import Setup
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.testing import NetworkedMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_core.values.typing import evolve
from tta_plugins.memory.precision import BF16, FP16
from tta_plugins.methods.date import DATE


@pytest.fixture
def setup():
    return Setup(NetworkedMixture(), vp_scheduler(3), Likeness(), DATE(), height=8, width=8)


@pytest.mark.parametrize(("policy", "dtype"), [(FP16(), torch.float16), (BF16(), torch.bfloat16)])
def test_every_network_is_cast(setup, policy, dtype):
    under = policy(setup)
    with under.undo:
        dtypes = {tensor.dtype for network in setup.backbone.networks.values() for tensor in network.parameters()}
        assert dtypes == {dtype}


def test_only_the_requested_components_are_cast(setup):
    under = BF16(("decoder",))(setup)
    with under.undo:
        assert setup.backbone.decoder[0].weight.dtype == torch.bfloat16
        assert setup.backbone.denoiser[0].weight.dtype == torch.float32


def test_a_network_is_not_cast_twice(setup):
    with setup.undo:
        under = BF16(("decoder",))(setup)
        assert FP16(("denoiser",))(under).backbone.denoiser[0].weight.dtype == torch.float16
        with pytest.raises(IncompatibleError, match=r"Cannot use FP16.* another policy has cast one of these networks"):
            FP16()(under)
    with BF16()(setup).undo:
        pass


def test_float16_leaves_networks_that_overflow_and_scales_the_loss(setup):
    backbone = setup.backbone
    under = FP16(loss_scale=8.0)(evolve(setup, backbone=_Overflowing(backbone)))
    with under.undo:
        assert under.loss_scale == 8.0
        assert backbone.decoder[0].weight.dtype == torch.float32
        assert backbone.denoiser[0].weight.dtype == torch.float16


@pytest.mark.parametrize("policy", [FP16(), BF16()], ids=["FP16", "BF16"])
def test_a_networks_output_stays_within_the_tolerance_and_outside_is_float32(prepared, policy):
    outputs = []
    for memory in ((), (policy,)):
        with prepared(*memory) as run, torch.no_grad():
            problem = run.problem
            here = problem.at(problem.start(problem.controls), problem.steps[1])
            outputs.append(here.branch("text", problem.controls.text))
            assert outputs[-1].dtype == problem.look(outputs[-1]).images.dtype == torch.float32
    apart = ((outputs[1] - outputs[0]).norm() / outputs[0].norm()).item()
    assert 0 < apart < policy.tolerance


def test_a_plain_module_gets_inputs_of_its_own_dtype(setup):
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(1), nn.Flatten(0))
    module(torch.zeros(1, 3, 8, 8))
    under = BF16(("reward",))(evolve(setup, reward=_Bare(module)))
    with under.undo:
        assert module[1].weight.dtype == torch.bfloat16
        assert under.reward(torch.rand(2, 3, 8, 8), ["a", "b"]).dtype == torch.bfloat16
    assert module(torch.rand(2, 3, 8, 8)).dtype == torch.float32


def test_a_loss_scale_of_zero_is_refused():
    with pytest.raises(InputError, match="loss scale"):
        FP16(loss_scale=0)


@attrs.frozen(eq=False)
class _Bare:
    module: nn.Module

    @property
    def networks(self):
        return {"reward": self.module}

    def __call__(self, images, prompts):
        return self.module(images)


class _Overflowing(WrappedBackbone):
    """A backbone whose decoder overflows in float16."""

    @property
    def defaults(self):
        return evolve(self.backbone.defaults, float32=("decoder",))
