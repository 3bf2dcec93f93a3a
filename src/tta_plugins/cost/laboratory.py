"""A place where the real code of a setup runs on tensors without data: every shape, dtype and byte, and none of the work."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import networks_of
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.typing import evolve
from tta_plugins.cost.caches import unlearned_caches
from tta_plugins.cost.weightless import place_of, tensors_of, weightless, without_data


@contextmanager
def laboratory(setup: Setup) -> Iterator[Setup]:
    """The setup's own backbone, reward and look-ahead, copied around fake parameters; the user's networks are not touched.

    Everything computes on the CPU here, whatever device the backbone says it is on: shapes and bytes are the same. A setup whose networks
    were built fake (from configurations alone) is not copied. Checks such as "is everything finite" say yes. Gradients are on, as in a run.
    """
    held = _networks(setup)
    tensors = [tensor for network in held for tensor in tensors_of(network)]
    known = next((tensor for tensor in tensors if isinstance(tensor, FakeTensor)), None)
    mode = known.fake_mode if known is not None else FakeTensorMode(allow_non_fake_inputs=True)
    lab = evolve(setup, undo=ExitStack())
    if known is None:
        with mode:
            fake = {key: tensor for network in held for key, tensor in without_data(network).items()}
        backbone, reward, look_ahead = copy.deepcopy((setup.backbone, setup.reward, setup.look_ahead), fake)
        lab = evolve(lab, backbone=WrappedBackbone(backbone, device=setup.backbone.device), reward=reward, look_ahead=look_ahead)
        for original, network in zip(held, _networks(lab), strict=True):
            if network is not original:
                weightless(network, next((tensor.device.type for tensor in tensors_of(original)), "cpu"))
    with torch.enable_grad(), unlearned_caches(), mode, _Assuring():
        yield lab


def parameter_bytes(lab: Setup) -> int:
    """Bytes of all parameters and buffers, each storage once, without the text encoders that are kept off the backbone's device."""
    device, roles = lab.backbone.device.type, lab.backbone.networks.items()
    away = [network for role, network in roles if role.startswith("text_encoder") and place_of(network) not in (None, device)]
    tensors = [tensor for network in _networks(lab) if network not in away for tensor in tensors_of(network)]
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _networks(setup: Setup) -> list[nn.Module]:
    return [network for thing in (setup.backbone, setup.reward, setup.look_ahead) for network in networks_of(thing).values()]


class _Assuring(TorchDispatchMode):
    """Answers a question about the data of a fake tensor with yes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer, or run the operation."""
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor) and args[0].constant is None:
            return {torch.bool: True}.get(args[0].dtype, 1.0 if args[0].is_floating_point() else 1)
        return func(*args, **(kwargs or {}))
