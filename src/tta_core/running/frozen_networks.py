"""Freezes networks and sets them to evaluation mode during a run, then restores their state exactly.

Runs may overlap, in threads or in nested contexts: who comes first notes how things were, and who leaves last puts them back.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn

from tta_core.errors import IncompatibleError
from tta_core.values.arguments import written

_lock = threading.RLock()


@attrs.define
class _Loan:
    """How a thing was when the first borrower came, and how many have it now. It holds the thing, so that its id stays its own."""

    thing: Any
    was: Any
    borrowers: int = 0


_parameters: dict[int, _Loan] = {}
_modules: dict[int, _Loan] = {}
_moved: dict[int, _Loan] = {}
_runs: dict[int, list[str]] = {}  # of each network, what the memory policies of the runs that have it are ("": none)


@contextmanager
def frozen_networks(networks: Iterable[nn.Module]) -> Iterator[None]:
    """No parameter requires a gradient and every module is in evaluation mode; both flags are restored, also after an error."""
    networks = list(networks)
    parameters = list({id(parameter): parameter for network in networks for parameter in network.parameters()}.values())
    modules = list({id(module): module for network in networks for module in network.modules()}.values())
    with _lock:
        for parameter in parameters:
            _borrow(_parameters, parameter, parameter.requires_grad)
        for module in modules:
            _borrow(_modules, module, module.training)
    try:
        with _lock:
            for parameter in parameters:
                parameter.requires_grad_(False)
            for network in networks:
                network.eval()
        yield
    finally:
        with _lock:
            for loan in _returned(_parameters, parameters):
                loan.thing.requires_grad_(loan.was)
            for loan in _returned(_modules, modules):
                loan.thing.training = loan.was


@contextmanager
def on_device(networks: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Moves networks to a device, and afterwards each back to its own; networks that are already there are not changed."""
    visiting: list[nn.Module] = []
    try:
        with _lock:
            for network in networks:
                home = next((parameter.device for parameter in network.parameters()), device)
                if home != device or id(network) in _moved:
                    _borrow(_moved, network, home)
                    visiting.append(network)
                    network.to(device)
        yield
    finally:
        with _lock:
            for loan in _returned(_moved, visiting):
                loan.thing.to(loan.was)


@contextmanager
def one_policy_at_a_time(networks: Sequence[nn.Module], policies: Sequence[object]) -> Iterator[None]:
    """Runs without memory policies can share networks; a run with policies, which may cast or rewire them, must have them to itself.

    Raises:
        IncompatibleError: if another run has one of these networks, and it or this one has policies.
    """
    mine = ", ".join(map(written, policies))
    with _lock:
        for network in networks:
            others = _runs.get(id(network), [])
            if others and (mine or any(others)):
                theirs = next((other for other in others if other), "")
                raise IncompatibleError(
                    f"Cannot use {type(network).__name__} with {mine or 'this run'} while another run has it"
                    f"{f' with {theirs}' if theirs else ''}. This is because memory policies change networks in place, so one run would "
                    "compute in the other's precision. Wait until that run has ended, or load the networks twice."
                )
        for network in networks:
            _runs.setdefault(id(network), []).append(mine)
    try:
        yield
    finally:
        with _lock:
            for network in networks:
                _runs[id(network)].remove(mine)
                if not _runs[id(network)]:
                    del _runs[id(network)]


def _borrow(loans: dict[int, _Loan], thing: object, was: object) -> None:
    loans.setdefault(id(thing), _Loan(thing, was)).borrowers += 1


def _returned(loans: dict[int, _Loan], things: Iterable[object]) -> Iterator[_Loan]:
    """The loans that end, now that one borrower gives these things back."""
    for thing in things:
        loan = loans[id(thing)]
        loan.borrowers -= 1
        if not loan.borrowers:
            yield loans.pop(id(thing))
