"""How much memory a run needs at once, phase by phase, found by running the method itself on tensors without data."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs
import torch

from tta_core.protocols.memory import Setup
from tta_core.protocols.method import Method
from tta_core.protocols.scheduler import Scheduler
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.typing import evolve, frozen
from tta_plugins.cost.laboratory import laboratory, parameter_bytes
from tta_plugins.cost.live import LiveBytes
from tta_plugins.cost.spotlight import Lamp, lit
from tta_plugins.cost.standin import Silent, StandIn, posed, size_of


@frozen
class Peaks:
    """Bytes alive at once. Parameters stay; `phases` come on top, one at a time: "baseline" and "method". Allocators, workspaces of
    libraries and the CUDA context need more: some 0.5 GB and 10 % on a GPU."""

    parameters: int
    phases: dict[str, int]

    @property
    def total(self) -> int:
        """Parameters and the highest phase."""
        return self.parameters + max(self.phases.values())


@runtime_checkable
class InTurn(Protocol):
    """A method that is others, one after another: each needs memory of its own."""

    methods: tuple[Method, ...]


def foretold(setup: Setup) -> Peaks:
    """The peaks of a run of the setup."""
    with laboratory(setup) as lab:
        return Peaks(parameter_bytes(lab), _foretold(lab))


def _foretold(lab: Setup) -> dict[str, int]:
    if isinstance(lab.method, InTurn):
        each = [_foretold(evolve(lab, method=method)) for method in lab.method.methods]
        return {phase: max(phases[phase] for phases in each) for phase in each[0]}
    if not lab.method.needs.chain:
        return _phases(lab)
    reach = _reach(lab)
    if lab.segment is None:
        return _extended(_phases(lab, 2), _phases(lab, 3), reach - 2)
    kept, one = min(lab.segment, reach), _phases(evolve(lab, segment=1), 2)
    if kept == 1:
        return one
    return _extended(one, _phases(evolve(lab, segment=2), 4), kept - 1)


def _reach(lab: Setup) -> int:
    """How many steps of the chain are differentiated, counted on a stand-in until the first snapshot; all, if none was until then."""
    backbone = StandIn(lab.backbone)
    problem = posed(lab, backbone, Silent(lab.reward), backbone.latent_shape(*size_of(lab)))
    next(iter(lab.method.align(problem)))
    return problem.ledger.counts["text.backward"] // len(lab.prompts) or len(lab.scheduler.steps)


def _extended(few: dict[str, int], one_more: dict[str, int], steps: int) -> dict[str, int]:
    """The phases of a chain that keeps so many steps more than `few` does; memory grows evenly with them."""
    return {phase: few[phase] + steps * max(0, one_more[phase] - few[phase]) for phase in few}


def _phases(lab: Setup, steps: int | None = None) -> dict[str, int]:
    """The phases of a run; of its last steps alone, if a number is given, with all of its noises."""
    lamp, size = Lamp(), size_of(lab)
    backbone, reward, decoder = lit(lab.backbone, lab.reward, lab.look_ahead, lamp, size)
    problem = posed(lab, backbone, reward, lab.backbone.latent_shape(*size))
    problem = evolve(problem, look_ahead_decoder=decoder, loss_scale=lab.loss_scale)
    if steps is not None:
        problem = evolve(problem, scheduler=LastSteps(lab.scheduler, problem.steps[-steps:]))
    controls = problem.controls
    held = sum(tensor.nbytes for tensor in (controls.noise, *controls.text.leaves, *(controls.null.leaves if controls.null else ())))
    phases = {}
    with LiveBytes() as live:
        with torch.no_grad():
            problem.look(problem.sample(controls))
        phases["baseline"] = held + live.peak
        live.restart()
        first = None
        for snapshot in lab.method.align(problem):
            lamp.snapshot()
            first = snapshot.index if first is None and lamp.spent else first
            if first is not None and snapshot.index >= first + 2:
                break
        phases["method"] = held + live.peak
    return phases


@attrs.frozen
class LastSteps:
    """A scheduler of which only the last steps are taken."""

    scheduler: Scheduler
    steps: Sequence[Step]

    @property
    def initial_std(self) -> float:
        """The scheduler's."""
        return self.scheduler.initial_std

    def believe(self, state: State, x0: torch.Tensor, step: Step) -> Prediction:
        """The scheduler's."""
        return self.scheduler.believe(state, x0, step)

    def predict(self, state: State, output: torch.Tensor, step: Step) -> Prediction:
        """The scheduler's."""
        return self.scheduler.predict(state, output, step)
