"""What the modules of a network say about it: its own class in wrappers, hooks, dtype, quantised layers."""

from typing import Any, cast

import attrs
import torch
from torch import nn


def inside(network: nn.Module) -> nn.Module:
    """The module in the wrappers of `torch.compile` and of (distributed) data parallelism."""
    while True:
        within = getattr(network, "_orig_mod", None)
        if within is None and isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            within = network.module
        if within is None:
            return network
        network = cast(nn.Module, within)


@attrs.frozen(eq=False)
class Modules:
    """What was read of all modules of a network. A denoiser has thousands, and reading them takes milliseconds, so it is done once a run.

    Attributes:
        dtype: what the network computes in: the model's `.dtype`, which differs from that of its parameters where they are quantised or
            cast layer by layer.
        hooks: diffusers' hooks on any module, with their names.
        quantised: the layers, by name, with a weight of a quantiser's own class or of integers.
    """

    network: nn.Module
    dtype: torch.dtype
    hooks: tuple[tuple[str, Any], ...]
    quantised: tuple[str, ...]
    _first: torch.dtype | None

    @classmethod
    def of(cls, network: nn.Module) -> "Modules":
        """Read them now."""
        hooks: list[tuple[str, Any]] = []
        quantised = []
        for name, module in network.named_modules():
            hooks += getattr(vars(module).get("_diffusers_hook"), "hooks", {}).items()
            if any(_is_quantised(weight) for weight in module._parameters.values() if weight is not None):
                quantised.append(name)
        return cls(network, dtype_of(network), tuple(hooks), tuple(quantised), _first_dtype(network))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Modules":
        """The same: a backbone's copy has another network, for which they do not hold."""
        return self

    def hold(self, network: nn.Module) -> bool:
        """Whether they are of this network, which was not cast since."""
        return network is self.network and _first_dtype(network) == self._first


def dtype_of(network: nn.Module) -> torch.dtype:
    """What a network computes in; see `Modules`."""
    told = getattr(inside(network), "dtype", None)
    floating = (parameter.dtype for parameter in network.parameters() if parameter.dtype.is_floating_point)
    return told if isinstance(told, torch.dtype) else next(floating, torch.float32)


def _is_quantised(weight: nn.Parameter) -> bool:
    return type(weight) is not nn.Parameter or not weight.dtype.is_floating_point


def _first_dtype(network: nn.Module) -> torch.dtype | None:
    return next((parameter.dtype for parameter in network.parameters()), None)
