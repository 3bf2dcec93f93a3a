"""A place where the real code of a setup runs on tensors without data: every shape, dtype and byte, and none of the work."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tta_core._typing import evolve
from tta_core.memory import Setup
from tta_core.reward import networks_of
from tta_plugins.cost.caches import unlearned_caches


@contextmanager
def laboratory(setup: Setup) -> Iterator[Setup]:
    """The setup's own backbone, reward and look-ahead, copied around fake parameters; the user's networks are not touched.

    A setup whose networks were built fake (from configurations alone) is not copied. Checks such as "is everything finite" say yes.
    """
    held = [*setup.backbone.networks.values(), *networks_of(setup.reward).values()]
    tensors = [tensor for network in held for tensor in _tensors(network)]
    known = next((tensor for tensor in tensors if isinstance(tensor, FakeTensor)), None)
    mode = known.fake_mode if known is not None else FakeTensorMode(allow_non_fake_inputs=True)
    parts = (setup.backbone, setup.reward, setup.look_ahead)
    if known is None:
        parts = copy.deepcopy(parts, {id(tensor): mode.from_tensor(tensor) for tensor in tensors})
    backbone, reward, look_ahead = parts
    with unlearned_caches(), mode, _Assuring():
        yield evolve(setup, backbone=backbone, reward=reward, look_ahead=look_ahead, undo=ExitStack())


def parameter_bytes(setup: Setup) -> int:
    """Bytes of all parameters and buffers that are on the backbone's device, each storage once."""
    held = [*setup.backbone.networks.values(), *networks_of(setup.reward).values()]
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for network in held for tensor in _tensors(network)}
    return sum(storages.values())


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]


class _Assuring(TorchDispatchMode):
    """Answers a question about the data of a fake tensor with yes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer, or run the operation."""
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor) and args[0].constant is None:
            return {torch.bool: True}.get(args[0].dtype, 1.0 if args[0].is_floating_point() else 1)
        return func(*args, **(kwargs or {}))
