"""After every run, successful or not, the user's networks have their original tensors, bits, flags, hooks and methods."""

import attrs
import pytest
import torch
from diffusers import AutoencoderTiny
from module_state import state_of

from tta_core.errors import RewardError
from tta_plugins.memory.channels_last import ChannelsLast
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.chunked import Chunked
from tta_plugins.memory.compiled import Compiled
from tta_plugins.memory.frozen_convolutions import FrozenConvolutions
from tta_plugins.memory.frozen_encoder import FrozenEncoder
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.precision import BF16, FP16

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile itself requires it
POLICIES = [
    (FP16(),),
    (BF16(),),
    (Checkpointing(),),
    (FrozenConvolutions(),),
    (ChannelsLast(),),
    (Compiled(backend="eager"),),
    (FrozenEncoder(),),
    (FP16(), FrozenConvolutions(), Checkpointing(), Chunked(), LookAhead()),
]
named = pytest.mark.parametrize("policies", POLICIES, ids=lambda policies: "+".join(type(policy).__name__ for policy in policies))


@attrs.frozen(eq=False)
class Failing:
    networks: dict

    def __call__(self, images, prompts):
        raise ValueError("no")


@named
def test_everything_is_restored_after_a_run(prepared, networks, policies):
    before = state_of(networks)
    with prepared(*policies):
        assert state_of(networks) != before or policies == (LookAhead(),)
    assert state_of(networks) == before


@pytest.mark.parametrize("policies", [POLICIES[0], POLICIES[-1]], ids=["FP16", "many"])
def test_everything_is_restored_after_a_run_that_fails(solve, networks, reward, policies):
    before = state_of(networks)
    with pytest.raises(RewardError, match="Failing"):
        solve(*policies, judge=Failing(reward.networks))
    assert state_of(networks) == before


def test_a_tiny_autoencoder_is_frozen_only_during_the_run(prepared):
    small = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(0,) * 4,
        num_decoder_blocks=(0,) * 4,
    )
    small.train()
    with prepared(LookAhead(autoencoder=small)):
        assert not small.training
        assert not any(parameter.requires_grad for parameter in small.parameters())
    assert small.training
    assert all(parameter.requires_grad for parameter in small.parameters())


def test_the_original_weights_are_kept_and_not_cast_back(prepared, pipeline):
    weight = pipeline.unet.conv_in.weight
    bits = weight.detach().clone()
    with prepared(FP16()):
        assert weight.dtype == torch.float16
    assert torch.equal(weight, bits)
    assert not torch.equal(bits.half().float(), bits)
