"""Facts about a network that its modules show: the module inside wrappers, hooks, dtype, quantised layers."""

from typing import Any, cast

import attrs
import torch
from torch import nn


def inside(network: nn.Module) -> nn.Module:
    """The module inside the wrappers of `torch.compile` and of (distributed) data parallelism."""
    while True:
        within = getattr(network, "_orig_mod", None)
        if within is None and isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            within = network.module
        if within is None:
            return network
        network = cast(nn.Module, within)


@attrs.frozen(eq=False)
class Modules:
    """Facts about a network, read from all its modules. A denoiser has thousands, so they are read once per run, not at each call.

    Attributes:
        dtype: the dtype in which the network computes: the model's `.dtype`, which differs from that of its parameters if they are
            quantised or cast layer by layer.
        hooks: diffusers' hooks on any module, with their names.
        quantised: names of the layers with a weight that has a quantiser's class or an integer dtype.
        weights: the class and the dtype of each parameter.
    """

    network: nn.Module
    dtype: torch.dtype
    quantised: tuple[str, ...]
    hooks: list[tuple[str, Any]]
    weights: list[tuple[type, torch.dtype]]
    _first: torch.dtype | None

    @classmethod
    def of(cls, network: nn.Module, before: "Modules | None" = None) -> "Modules":
        """Read the facts about a network; returns `before` itself if they have not changed since."""
        modules = _modules(network)
        hooked = (module.__dict__["_diffusers_hook"] for module in modules if "_diffusers_hook" in module.__dict__)
        hooks = [pair for registry in hooked for pair in registry.hooks.items()]
        weights = [(type(weight), weight.dtype) for module in modules for weight in module._parameters.values() if weight is not None]
        if before is not None and network is before.network and (hooks, weights) == (before.hooks, before.weights):
            return before
        packed = (name for name, module in network.named_modules() if any(map(_is_quantised, module._parameters.values())))
        return cls(network, dtype_of(network), tuple(packed), hooks, weights, _first_dtype(network))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Modules":
        """The same object: a copied backbone has another network, so `hold` is False for it."""
        return self

    def hold(self, network: nn.Module) -> bool:
        """Whether the facts are of this network, and it was not cast since."""
        return network is self.network and _first_dtype(network) == self._first


def _modules(network: nn.Module) -> list[nn.Module]:
    """Every module once, in a third of the time that torch's `modules` takes, which makes their names too."""
    found, seen = [network], {network}
    for module in found:
        for part in module._modules.values():
            if part is not None and part not in seen:
                seen.add(part)
                found.append(part)
    return found


def dtype_of(network: nn.Module) -> torch.dtype:
    """The dtype in which a network computes; see `Modules`."""
    own = getattr(inside(network), "dtype", None)
    floating = (parameter.dtype for parameter in network.parameters() if parameter.dtype.is_floating_point)
    return own if isinstance(own, torch.dtype) else next(floating, torch.float32)


def _is_quantised(weight: nn.Parameter | None) -> bool:
    return weight is not None and (type(weight) is not nn.Parameter or not weight.dtype.is_floating_point)


def _first_dtype(network: nn.Module) -> torch.dtype | None:
    return next((parameter.dtype for parameter in network.parameters()), None)
