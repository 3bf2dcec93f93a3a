"""Freezes networks and sets them to evaluation mode during a run, then restores their state exactly.

Runs may overlap, in threads or in nested contexts: the first run saves the state, and the last one to end restores it.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn

from tta_core.errors import IncompatibleError, InputError
from tta_core.values.arguments import written

_lock = threading.RLock()


@attrs.define
class _Saved:
    """The state of an object before the first run that uses it, and the number of runs that use it now. The reference to the object keeps
    its id from being reused."""

    owner: Any
    state: Any
    users: int = 0


_parameters: dict[int, _Saved] = {}
_modules: dict[int, _Saved] = {}
_moved: dict[int, _Saved] = {}
_runs: dict[int, list[str]] = {}  # for each network, the memory policies of the runs that use it ("": none)


@contextmanager
def frozen_networks(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Freezes all parameters and sets all modules to evaluation mode; both flags are restored at the end, also after an error.

    Raises `InputError` for networks that were made under `torch.inference_mode()`: gradients cannot pass them, and their flags are fixed.
    """
    networks = list(networks)
    for network in networks:
        if any(parameter.is_inference() for parameter in network.parameters()):
            raise InputError(
                f"The weights of {type(network).__name__} were loaded under torch.inference_mode(), so gradients cannot pass it. Load it "
                "under torch.no_grad() instead, or without either."
            )
    parameters = list({id(parameter): parameter for network in networks for parameter in network.parameters()}.values())
    modules = list({id(module): module for network in networks for module in network.modules()}.values())
    with _lock:
        for parameter in parameters:
            _save(_parameters, parameter, parameter.requires_grad)
        for module in modules:
            _save(_modules, module, module.training)
    try:
        with _lock:
            for parameter in parameters:
                parameter.requires_grad_(False)
            for network in networks:
                network.eval()
        yield
    finally:
        with _lock:
            for saved in _released(_parameters, parameters):
                saved.owner.requires_grad_(saved.state)
            for saved in _released(_modules, modules):
                saved.owner.training = saved.state


@contextmanager
def on_device(networks: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Moves networks to a device, and at the end back to their own; networks that are already on the device are not changed.

    Raises `InputError` for networks on the meta device, whose weights have no values to move.
    """
    moved: list[nn.Module] = []
    try:
        with _lock:
            for network in networks:
                original = next((parameter.device for parameter in network.parameters()), device)
                if original.type == "meta" != device.type:
                    raise InputError(f"The weights of {type(network).__name__} have no values: they are on the meta device. Load it again.")
                if original != device or id(network) in _moved:
                    _save(_moved, network, original)
                    moved.append(network)
                    network.to(device)
        yield
    finally:
        with _lock:
            for saved in _released(_moved, moved):
                saved.owner.to(saved.state)


@contextmanager
def one_policy_at_a_time(networks: Sequence[nn.Module], policies: Sequence[object]) -> Iterator[None]:
    """Lets runs without memory policies share networks. A run with policies, which may cast or patch networks, must be their only user.

    Raises:
        IncompatibleError: another run uses one of these networks, and that run or this one has policies.
    """
    own = ", ".join(map(written, policies))
    with _lock:
        for network in networks:
            others = _runs.get(id(network), [])
            if others and (own or any(others)):
                theirs = next((other for other in others if other), "")
                raise IncompatibleError(
                    f"Cannot use {type(network).__name__} with {own or 'this run'} while another run uses it"
                    f"{f' with {theirs}' if theirs else ''}. This is because memory policies change networks in place, so one run would "
                    "compute in the other's precision. Wait until that run has ended, or load the networks twice."
                )
        for network in networks:
            _runs.setdefault(id(network), []).append(own)
    try:
        yield
    finally:
        with _lock:
            for network in networks:
                _runs[id(network)].remove(own)
                if not _runs[id(network)]:
                    del _runs[id(network)]


def _save(table: dict[int, _Saved], owner: object, state: object) -> None:
    table.setdefault(id(owner), _Saved(owner, state)).users += 1


def _released(table: dict[int, _Saved], owners: Iterable[object]) -> Iterator[_Saved]:
    """Counts one user less for these objects; yields those that have no users left."""
    for owner in owners:
        saved = table[id(owner)]
        saved.users -= 1
        if not saved.users:
            yield table.pop(id(owner))
