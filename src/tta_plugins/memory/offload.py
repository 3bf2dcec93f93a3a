"""Keeps text encoders in host memory while they are not used."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from tta_core.protocols.memory import Setup
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.running.frozen_networks import on_device
from tta_core.values.typing import evolve, frozen
from tta_plugins.memory.components import chosen_networks, refusal


@frozen
class Offload:
    """Text encoders are on the device only while they encode the prompts, and in host memory otherwise.

    Exact. Saves their parameters: 0.2 GB for SD v1.5 in float16, 1.6 GB for SDXL, 11.2 GB for SD3 and 9.8 GB for FLUX (T5-XXL).
    Rewards keep their text towers in host memory by themselves.
    """

    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose text encoders are on the device only during a call."""
        backbone, device = setup.backbone, setup.backbone.device
        encoders = chosen_networks(setup, ("text",), self)
        if device.type == "cpu":
            raise refusal(self, setup, "it moves networks to host memory, and the backbone computes there already")
        if device.type != "meta" and any(parameter.is_meta for encoder in encoders for parameter in encoder.parameters()):
            raise refusal(self, setup, "it moves the text encoders' weights, and accelerate's sequential offloading moves them already")

        encode, encode_null = (_OnDevice(call, encoders, device) for call in (backbone.encode, backbone.encode_null))
        wrapped = WrappedBackbone(backbone, encoding=encode, encoding_null=encode_null)
        for encoder in encoders:
            setup.undo.callback(encoder.to, device)
            encoder.to("cpu")
        return evolve(setup, backbone=wrapped)


@attrs.frozen(eq=False)
class _OnDevice:
    """A call during which the encoders are on the device. It is a value and not a closure, so that a deep copy calls the copied
    encoders."""

    call: Callable[[Any, int, int], Any]
    encoders: Sequence[nn.Module]
    device: torch.device

    def __call__(self, prompts: Sequence[str | None], height: int, width: int) -> Any:
        with on_device(self.encoders, self.device):
            return self.call(prompts, height, width)
