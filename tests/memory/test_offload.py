"""Text encoders are on the device while they encode, and in host memory otherwise. "meta" is used as the device, so no data is moved."""

import attrs
import pytest
import torch
from torch import nn

from tta_core.errors import IncompatibleError
from tta_core.protocols.memory import Setup
from tta_core.testing import NetworkedMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_plugins.cost.fake_setup import parameter_bytes
from tta_plugins.cost.flops_per_row import flops_per_row
from tta_plugins.cost.memory_profile import memory_profile
from tta_plugins.memory.auto import Auto
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.offload import Offload
from tta_plugins.methods.date import DATE

SIZE = 4 * (1000 * 1000 + 1000)


class Encoder(nn.Linear):
    """A text encoder that moves between a device and host memory, without data."""

    def to(self, device):
        return self.to_empty(device=device)

    @property
    def where(self):
        return self.weight.device.type


@attrs.frozen(eq=False)
class Encoding(NetworkedMixture):
    """A backbone with a text encoder; it records where the encoder was at each call."""

    encoder: nn.Module = attrs.field(factory=lambda: Encoder(1000, 1000))
    asked: list[str] = attrs.field(factory=list)

    @property
    def networks(self):
        return {**super().networks, "text_encoder": self.encoder}

    def encode(self, prompts, height, width):
        self.asked.append(self.encoder.where)
        if "fail" in prompts:
            raise ValueError("no such text")
        return super().encode(prompts, height, width)

    def encode_null(self, prompts, height, width):
        self.asked.append(self.encoder.where)
        return super().encode_null(prompts, height, width)


@pytest.fixture
def setup():
    backbone = Encoding()
    for network in backbone.networks.values():
        network.to("meta")
    return Setup(backbone, vp_scheduler(3, 0.0), Likeness(), DATE(), height=8, width=8, guidance=2.0)


class OnCuda(Encoding):
    """A backbone that computes on a device, whose text encoder's weights are elsewhere, as accelerate's sequential offloading leaves
    them."""

    device = torch.device("cuda")


def test_weights_that_accelerate_moves_are_refused(setup):
    with pytest.raises(IncompatibleError, match="sequential offloading moves them already"):
        Offload()(attrs.evolve(setup, backbone=OnCuda(encoder=setup.backbone.encoder)))


def test_text_encoders_are_on_the_device_while_they_encode_and_after_the_run(setup):
    encoder = setup.backbone.encoder
    under = Offload()(Offload()(setup))
    with under.undo:
        assert encoder.where == "cpu"
        under.backbone.encode(("a",), 8, 8)
        under.backbone.encode_null((None,), 8, 8)
        assert encoder.where == "cpu"
        with pytest.raises(ValueError, match="no such text"):
            under.backbone.encode(("fail",), 8, 8)
        assert encoder.where == "cpu"
    assert encoder.where == "meta"
    assert setup.backbone.asked == ["meta"] * 3


def test_weights_in_host_memory_are_not_part_of_the_devices_prediction(setup):
    memory_profile(setup)  # the first one makes the tables that the reward and the backbone cache
    plain = memory_profile(setup)
    under = Offload()(setup)
    with under.undo:
        assert memory_profile(under).parameters == plain.parameters - SIZE
        assert flops_per_row(under) == flops_per_row(setup)
        assert setup.backbone.encoder.where == "cpu"
    assert memory_profile(setup) == plain


def test_the_prediction_for_a_device_equals_that_for_the_cpu(setup):
    on_cpu = memory_profile(Setup(NetworkedMixture(), setup.scheduler, Likeness(), DATE(), height=8, width=8, guidance=2.0))
    on_device = memory_profile(setup)
    assert on_device.phases == on_cpu.phases
    assert on_device.parameters == on_cpu.parameters + SIZE


def test_auto_offloads_if_needed(setup):
    with setup.undo:
        assert "offload" not in Auto(2 * SIZE)(setup).remarks[-1]
    under = Auto(SIZE // 2)(setup)
    with under.undo:
        assert ": offload + frozen-convolutions + checkpointing " in under.remarks[-1]
        assert setup.backbone.encoder.where == "cpu"
    assert setup.backbone.encoder.where == "meta"


def test_a_look_aheads_autoencoder_is_on_the_device_during_the_run(setup):
    autoencoder = Encoder(2, 2)
    under = LookAhead(autoencoder=autoencoder)(setup)
    with under.undo:
        assert autoencoder.where == "meta"
        assert parameter_bytes(under) == parameter_bytes(setup) + 4 * 6
    assert autoencoder.where == "cpu"
