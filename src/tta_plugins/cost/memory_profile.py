"""The peak memory of each phase of a run, predicted by running the method on fake tensors."""

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
    """Peaks of live bytes: `parameters`, and on top of them those of each of the `phases` "baseline" and "method", which follow one
    another. Allocators, workspaces of libraries and the CUDA context need more: some 0.5 GB and 10 % on a GPU."""

    parameters: int
    phases: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes of the parameters and of the highest phase."""
        return self.parameters + max(self.phases.values())


@runtime_checkable
class SequenceOfMethods(Protocol):
    """A method that runs other methods one after another, each of which needs memory of its own."""

    methods: tuple[Method, ...]


def memory_profile(setup: Setup) -> MemoryProfile:
    """The predicted peaks of a run of the setup."""
    with measured_calls(setup) as calls:
        return followed_memory(calls)


def followed_memory(calls: MeasuredCalls) -> MemoryProfile:
    """The peaks of a run with measured calls: of its baseline, and of each of its methods until the second snapshot after the first
    graph."""
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
