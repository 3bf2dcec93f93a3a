"""Networks are borrowed: frozen and in evaluation mode during a run, and handed back exactly as they were."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen_networks(networks: Iterable[nn.Module]) -> Iterator[None]:
    """No parameter asks for a gradient and every module is in evaluation mode; both flags are restored, also after an error."""
    networks = list(networks)
    asked = [(parameter, parameter.requires_grad) for network in networks for parameter in network.parameters()]
    training = [(module, module.training) for network in networks for module in network.modules()]
    try:
        for parameter, _ in asked:
            parameter.requires_grad_(False)
        for network in networks:
            network.eval()
        yield
    finally:
        for parameter, flag in asked:
            parameter.requires_grad_(flag)
        for module, flag in training:
            module.training = flag


@contextmanager
def on_device(networks: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Networks moved to a device, and back to where each was; those that are there already are not touched."""
    homes = [(network, parameter.device) for network in networks for parameter in [*network.parameters()][:1] if parameter.device != device]
    try:
        for network, _ in homes:
            network.to(device)
        yield
    finally:
        for network, home in homes:
            network.to(home)
