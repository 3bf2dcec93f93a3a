"""How much memory a run needs at once, phase by phase, found by running the method itself on fake tensors."""

from typing import Protocol, runtime_checkable

import torch

from tta_core.protocols.memory import Setup
from tta_core.protocols.method import Method
from tta_core.values.typing import evolve, frozen
from tta_plugins.cost.dummy_problem import dummy_problem, size_of
from tta_plugins.cost.fake_setup import parameter_bytes
from tta_plugins.cost.measured_calls import MeasuredCalls, measured_calls


@frozen
class MemoryProfile:
    """Bytes alive at once. Parameters stay; `phases` come on top, one at a time: "baseline" and "method". Allocators, workspaces of
    libraries and the CUDA context need more: some 0.5 GB and 10 % on a GPU."""

    parameters: int
    phases: dict[str, int]

    @property
    def total(self) -> int:
        """Parameters and the highest phase."""
        return self.parameters + max(self.phases.values())


@runtime_checkable
class SequenceOfMethods(Protocol):
    """A method that is others, one after another: each needs memory of its own."""

    methods: tuple[Method, ...]


def memory_profile(setup: Setup) -> MemoryProfile:
    """The peaks of a run of the setup."""
    with measured_calls(setup) as calls:
        return followed_memory(calls)


def followed_memory(calls: MeasuredCalls) -> MemoryProfile:
    """The peaks of a run of measured calls: of its baseline, and of each of its methods until the second snapshot after the first graph."""
    setup, tracker = calls.setup, calls.tracker
    parameters = parameter_bytes(setup)
    problem = dummy_problem(setup, setup.backbone, setup.reward, setup.backbone.latent_shape(*size_of(setup)))
    problem = evolve(problem, look_ahead_decoder=setup.look_ahead, loss_scale=setup.loss_scale)
    tracker.restart()
    with torch.no_grad():
        problem.look(problem.sample(problem.controls))
    phases = {"baseline": tracker.finish(), "method": 0}
    for method in setup.method.methods if isinstance(setup.method, SequenceOfMethods) else (setup.method,):
        tracker.restart()
        calls.differentiated, first = 0, None
        for snapshot in method.align(problem):
            first = snapshot.index if first is None and calls.differentiated else first
            if first is not None and snapshot.index >= first + 2:
                break
        phases["method"] = max(phases["method"], tracker.finish())
    return MemoryProfile(parameters, phases)
