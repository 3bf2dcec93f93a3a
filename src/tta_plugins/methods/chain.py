"""The part of a sampling chain that steered noises reach; what comes before them is sampled once, and keeps no graph."""

from collections.abc import Sequence

import torch
from einops import rearrange

from tta_core.protocols.scheduler import Scheduler
from tta_core.solving.problem import Problem
from tta_core.values.controls import Controls
from tta_core.values.trajectory import History, Prediction, State, Step
from tta_core.values.typing import Latents, evolve, frozen


@frozen
class Chain:
    """A problem's chain from its noise row `first` on; `before` is what is believed at the step that draws that row, None for x_T."""

    problem: Problem
    first: int
    before: Prediction | None

    def sample(self, controls: Controls) -> Latents:
        """x_0 from these controls, whose rows before `first` are the problem's own; rows `(k b)`. Differentiable from `first` on."""
        if self.before is None:
            return self.problem.sample(controls)
        reached = self.before.branch(rearrange(controls.noise[self.first], "(k b) c h w -> k b c h w", b=len(self.problem.prompts)))
        resumed = evolve(self.problem, origin=None, scheduler=_Resumed(self.problem.scheduler, self.first, reached.history))
        return resumed.sample(evolve(controls, noise=torch.cat([reached.x[None], controls.noise[1:]])))


def chain_from(problem: Problem, first: int) -> Chain:
    """The chain from a noise row on: 0 is x_T, row i + 1 is drawn at step i."""
    state, before = problem.start(problem.controls), None
    with torch.no_grad():
        for step in problem.steps:
            if step.index < first:
                before = problem.at(state, step).predict(problem.controls)
                state = before.sample(problem.controls.noise[step.index + 1])
    return Chain(problem, first, before)


@frozen
class _Resumed:
    """A sampler from its step `first` on, where x is already reached, so in its own units, and the solver remembers the step before."""

    scheduler: Scheduler
    first: int
    history: History | None

    @property
    def steps(self) -> Sequence[Step]:
        """The steps that are left, with their own numbers."""
        return tuple(step for step in self.scheduler.steps if step.index >= self.first)

    @property
    def initial_std(self) -> float:
        """1."""
        return 1.0

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The whole sampler's."""
        return self.scheduler.predict(self._reached(state, step), output, step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The whole sampler's."""
        return self.scheduler.believe(self._reached(state, step), x0, step)

    def _reached(self, state: State, step: Step) -> State:
        return state if self.history is None or step.index > self.first else evolve(state, history=self.history)
