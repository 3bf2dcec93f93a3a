"""How much memory a run needs at once, phase by phase, found by running the method itself on fake tensors."""

from typing import Protocol, runtime_checkable

import torch

from tta_core.protocols.memory import Setup
from tta_core.protocols.method import Method
from tta_core.solving.last_steps import LastSteps
from tta_core.values.typing import evolve, frozen
from tta_plugins.cost.dummies import DummyBackbone, DummyReward, dummy_problem, size_of
from tta_plugins.cost.fake_setup import on_fake_tensors, parameter_bytes
from tta_plugins.cost.first_calls import CallFilter, only_first_calls
from tta_plugins.cost.memory_tracker import MemoryTracker


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
    with on_fake_tensors(setup) as fake:
        return MemoryProfile(parameter_bytes(fake), _phases_of(fake))


def _phases_of(fake: Setup) -> dict[str, int]:
    if isinstance(fake.method, SequenceOfMethods):
        each = [_phases_of(evolve(fake, method=method)) for method in fake.method.methods]
        return {phase: max(phases[phase] for phases in each) for phase in each[0]}
    if not fake.method.needs.chain:
        return _phases(fake)
    reach = _reach(fake)
    if fake.segment is None:
        return _extended(_phases(fake, 2), _phases(fake, 3), reach - 2)
    kept, one = min(fake.segment, reach), _phases(evolve(fake, segment=1), 2)
    if kept == 1:
        return one
    return _extended(one, _phases(evolve(fake, segment=2), 4), kept - 1)


def _reach(fake: Setup) -> int:
    """How many steps of the chain are differentiated, counted on dummies until the first snapshot; all, if none was until then."""
    backbone = DummyBackbone(fake.backbone)
    problem = dummy_problem(fake, backbone, DummyReward(fake.reward), backbone.latent_shape(*size_of(fake)))
    next(iter(fake.method.align(problem)))
    return problem.ledger.counts["text.backward"] // len(fake.prompts) or len(fake.scheduler.steps)


def _extended(few: dict[str, int], one_more: dict[str, int], steps: int) -> dict[str, int]:
    """The phases of a chain that keeps so many steps more than `few` does; memory grows evenly with them."""
    return {phase: few[phase] + steps * max(0, one_more[phase] - few[phase]) for phase in few}


def _phases(fake: Setup, steps: int | None = None) -> dict[str, int]:
    """The phases of a run; of its last steps alone, if a number is given, with all of its noises."""
    calls, size = CallFilter(), size_of(fake)
    backbone, reward, decoder = only_first_calls(fake.backbone, fake.reward, fake.look_ahead, calls, size)
    problem = dummy_problem(fake, backbone, reward, fake.backbone.latent_shape(*size))
    problem = evolve(problem, look_ahead_decoder=decoder, loss_scale=fake.loss_scale)
    if steps is not None:
        problem = evolve(problem, scheduler=LastSteps(fake.scheduler, min(steps, len(problem.steps))))
    controls = problem.controls
    held = sum(tensor.nbytes for tensor in controls.leaves)
    phases = {}
    with MemoryTracker() as tracker:
        with torch.no_grad():
            problem.look(problem.sample(controls))
        phases["baseline"] = held + tracker.peak
        tracker.restart()
        first = None
        for snapshot in fake.method.align(problem):
            calls.snapshot()
            first = snapshot.index if first is None and calls.spent else first
            if first is not None and snapshot.index >= first + 2:
                break
        phases["method"] = held + tracker.peak
    return phases
