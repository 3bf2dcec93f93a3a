"""Chooses the number of torch's threads on a CPU: with several threads, small networks are slower."""

import os
from collections.abc import Iterable

import torch
from torch import nn

SMALL = 10_000_000  # parameters; the embedded model's denoiser has 4.3 million, and is twice as fast on one thread as on two
CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def fit_threads(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Use one thread if all networks are small and on the CPU. The user's environment variables take precedence."""
    if device.type != "cpu" or any(os.environ.get(variable) for variable in CHOSEN_BY_USER):
        return
    if all(sum(parameter.numel() for parameter in network.parameters()) < SMALL for network in networks):
        torch.set_num_threads(1)
