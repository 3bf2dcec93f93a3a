"""Runs the code of a setup's backbone and reward on fake tensors."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn

from tta_core.errors import IncompatibleError
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import networks_of
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.typing import evolve
from tta_plugins.cost.collection import collection_paused
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.cost.fake_networks import device_of, fake_tensors, mode_of, simulate, tensors_of


@contextmanager
def on_fake_tensors(setup: Setup, tracker: CostTracker | None = None) -> Iterator[Setup]:
    """The setup with copies of its backbone, reward and look-ahead that have fake parameters; the user's networks are not changed.

    Fake tensors are on the CPU, whatever the device of the backbone; shapes and bytes are the same there. A setup whose networks are fake
    already (made from configurations alone) is not copied. Gradients are enabled, as in a run. `tracker` counts all operations. The state
    of torch's random numbers is restored.
    """
    held = _networks(setup)
    known = mode_of(tensor for network in held for tensor in tensors_of(network))
    mode = known or FakeMode()
    fake = evolve(setup, undo=ExitStack())
    if known is None:
        memo = {key: tensor for network in held for key, tensor in fake_tensors(network, mode).items()}
        with _without_hooks(held):
            backbone, reward, look_ahead = copy.deepcopy((setup.backbone, setup.reward, setup.look_ahead), memo)
        fake = evolve(fake, backbone=WrappedBackbone(backbone, device=setup.backbone.device), reward=reward, look_ahead=look_ahead)
        for original, network in zip(held, _networks(fake), strict=True):
            if network is not original:
                simulate(network, next((tensor.device.type for tensor in tensors_of(original)), "cpu"))
    with collection_paused(), torch.random.fork_rng(devices=()), torch.enable_grad(), mode.tracked_by(tracker), mode:
        yield fake


def parameter_bytes(fake: Setup) -> int:
    """Bytes of all parameters and buffers, each storage once, without the text encoders that are not on the backbone's device."""
    device, roles = fake.backbone.device.type, fake.backbone.networks.items()
    away = [network for role, network in roles if role.startswith("text_encoder") and device_of(network) not in (None, device)]
    tensors = [tensor for network in _networks(fake) if network not in away for tensor in tensors_of(network)]
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _networks(setup: Setup) -> list[nn.Module]:
    return [network for thing in (setup.backbone, setup.reward, setup.look_ahead) for network in networks_of(thing).values()]


@contextmanager
def _without_hooks(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Removes the offloading hooks of accelerate and diffusers in this context, because fake tensors cannot be moved.

    Raises `IncompatibleError` for a hook of layerwise casting, without which a network cannot compute.
    """
    hooked = [module for network in networks for module in network.modules() if not _HOOKS.isdisjoint(vars(module))]
    if any("layerwise_casting" in getattr(vars(module).get("_diffusers_hook"), "hooks", {}) for module in hooked):
        raise IncompatibleError(
            "Cannot predict the memory of a network with layerwise casting. This is because its weights have another dtype between its "
            "calls than in them. Give the memory policies by name instead of auto or a size."
        )
    taken = [{name: vars(module).pop(name) for name in (*_HOOKS, "forward") if name in vars(module)} for module in hooked]
    for module, attributes in zip(hooked, taken, strict=True):
        if "forward" in attributes:  # policies do not patch a forward that is set on the object, and the copy must be treated alike
            vars(module)["forward"] = partial(type(module).forward, module)
    try:
        yield
    finally:
        for module, attributes in zip(hooked, taken, strict=True):
            vars(module).update(attributes)


_HOOKS = frozenset({"_hf_hook", "_old_forward", "_diffusers_hook"})
