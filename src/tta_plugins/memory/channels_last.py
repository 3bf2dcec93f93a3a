"""The order of a convolution's weights in memory."""

import attrs
import torch
from torch import nn

from tta_core.protocols.memory import Setup
from tta_core.values.typing import frozen
from tta_plugins.memory.components import chosen_networks, refusal


@frozen
class ChannelsLast:
    """Convolutions of denoiser, decoder and reward in channels-last order, which is faster on tensor cores; the user's own weights are
    restored afterwards. Exact up to the order of sums; it changes the speed, and hardly the memory."""

    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose convolutions are reordered."""
        networks = chosen_networks(setup, ("denoiser", "decoder", "reward"), self)
        layers = [layer for network in networks for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        if not layers:
            raise refusal(self, setup, "it reorders convolutions, and the networks have none")
        for layer in layers:
            setup.undo.callback(setattr, layer.weight, "data", layer.weight.data)
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        return setup
