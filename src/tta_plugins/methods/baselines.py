"""Baselines: no update, DATE's steps in random directions, and the best of n plain samples."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core.protocols.method import Needs, Snapshot
from tta_core.protocols.variables import ControllableVariable, TextEmbedding
from tta_core.solving import steering
from tta_core.solving.problem import Problem
from tta_core.values.arguments import at_least
from tta_core.values.schedules import Schedule, Window
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.date import DATE


@frozen
class Fixed:
    """Plain sampling without steering. For a baseline at equal cost, give the run more `steps`."""

    citation: ClassVar[str] = ""

    @property
    def needs(self) -> Needs:
        """No requirements."""
        return Needs()

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, yielding each clean estimate."""
        problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            with torch.no_grad():
                prediction = problem.at(state, step).predict(controls)
                state = prediction.sample(controls.noise[step.index + 1])
            yield Snapshot(step.index, total, controls, prediction.x0)
        yield problem.result(total, controls, state.x)


@frozen
class RandomDirection:
    """DATE with a random unit direction instead of the gradient: shows the effect of changing the embedding without the reward.

    Attributes are `DATE`'s: rho (relative to the variable's norm if `relative`), updates, start, variable.
    Source: DATE (arXiv 2510.23974), the random-direction rows of its tables.
    """

    rho: float = attrs.field(default=0.5, validator=at_least(0))
    updates: Schedule = attrs.field(factory=lambda: Window(0.5, 1.0))
    start: Literal["current", "original"] = "current"
    relative: bool = False
    variable: ControllableVariable = attrs.field(factory=TextEmbedding)

    citation: ClassVar[str] = DATE.citation

    @property
    def needs(self) -> Needs:
        """The variable; the reward is not used."""
        return Needs(self.variable)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, moving the embedding by rho at the chosen steps."""
        problem.check(self.needs)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        original, used = self.variable.read(controls), controls
        length = self.rho * (steering.norm(original) if self.relative else torch.ones(len(problem.prompts)).to(state.x))
        for step in problem.steps:
            if self.updates(step.index, total):
                direction = tuple(problem.noises.like(tensor, step.index, i) for i, tensor in enumerate(original))
                begin = original if self.start == "original" else self.variable.read(controls)
                controls = self.variable.write(controls, steering.added(begin, steering.scaled(steering.unit(direction), length)))
            with torch.no_grad():
                prediction = problem.at(state, step).predict(controls)
                state = prediction.sample(controls.noise[step.index + 1])
            used = used.recorded(step.index, controls.at(step.index))
            yield Snapshot(step.index, total, controls, prediction.x0)
        yield problem.result(total, evolve(controls, by_step=used.by_step), state.x)


@frozen
class BestOfN:
    """Generates n plain samples from different noises and keeps the best; usually the strongest baseline at equal cost.

    Attributes:
        n: samples per prompt; the first is the baseline's, so the result never scores lower than the baseline.
    """

    n: int = attrs.field(default=4, validator=at_least(1))

    citation: ClassVar[str] = ""

    @property
    def needs(self) -> Needs:
        """No requirements; any reward works."""
        return Needs(one_trajectory=self.n == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Generate one sample after another, so that the memory need is that of one."""
        problem.check(self.needs)
        rows, best = range(len(problem.steps) + 1), None
        for child in range(self.n):
            noise = torch.stack([problem.noises(row, child) for row in rows]) if child else problem.controls.noise
            controls = evolve(problem.controls, noise=noise)
            with torch.no_grad():
                sample = evolve(problem.result(self.n, controls, problem.sample(controls)), index=child)
            best = best.better(sample) if best else sample
            yield best
