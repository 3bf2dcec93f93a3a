"""What the modules of a network say about it: its own class in wrappers, hooks, dtype.

These are read at every call of a denoiser, whose modules can be thousands, so they walk the modules once without torch's `named_modules`,
which takes some ten times as long.
"""

from typing import Any, cast

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


def modules_of(network: nn.Module) -> list[nn.Module]:
    """The network and all its modules; a module that is shared can be in it twice."""
    modules: list[nn.Module] = [network]
    for module in modules:  # grows while it is read
        modules += filter(None, module._modules.values())
    return modules


def hooks_of(network: nn.Module) -> dict[str, Any]:
    """The hooks of diffusers on the network and on its modules, by name; of several with one name, one."""
    hooked = (vars(module)["_diffusers_hook"] for module in modules_of(network) if "_diffusers_hook" in vars(module))
    return {name: hook for registry in hooked for name, hook in getattr(registry, "hooks", {}).items()}


def dtype_of(network: nn.Module, hooks: dict[str, Any] | None = None) -> torch.dtype:
    """What it computes in: that of its floating parameters, or what layerwise casting casts them to; of a network that is not diffusers',
    its own `.dtype` if it has one. `hooks` are the network's, if they are known.

    Differs: the same as diffusers' `.dtype`, which scans all modules for layerwise casting at each call.
    """
    from diffusers import ModelMixin  # here, since a pipeline's family is recognised without it

    module = inside(network)
    casting = (hooks_of(network) if hooks is None else hooks).get("layerwise_casting")
    if casting is not None:
        return cast(torch.dtype, casting.compute_dtype)
    own = None if isinstance(module, ModelMixin) else getattr(module, "dtype", None)
    if isinstance(own, torch.dtype):
        return own
    float32 = getattr(module, "_keep_in_fp32_modules", None) or ()
    floating = (it.dtype for name, it in module.named_parameters() if it.is_floating_point() and not any(word in name for word in float32))
    return next(floating, torch.float32)
