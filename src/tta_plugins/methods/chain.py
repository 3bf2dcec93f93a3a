"""The part of a sampling chain that depends on steered noises; the steps before it are sampled once, without a graph."""

import torch
from einops import rearrange

from tta_core.solving.problem import Problem
from tta_core.values.controls import Controls
from tta_core.values.trajectory import Prediction
from tta_core.values.typing import Latents, frozen


@frozen
class Chain:
    """A problem's chain from its noise row `first` on; `before` is the prediction at the step that uses that row, None for x_T."""

    problem: Problem
    first: int
    before: Prediction | None

    def sample(self, controls: Controls) -> Latents:
        """x_0 from these controls, whose rows before `first` are the problem's own; rows `(k b)`. Differentiable from `first` on."""
        if self.before is None:
            return self.problem.sample(controls)
        reached = self.before.branch(rearrange(controls.noise[self.first], "(k b) c h w -> k b c h w", b=len(self.problem.prompts)))
        return self.problem.sample(controls, reached, self.first)


def chain_from(problem: Problem, first: int) -> Chain:
    """The chain from a noise row on: row 0 is x_T, row i + 1 is used at step i."""
    state, before = problem.start(problem.controls), None
    with torch.no_grad():
        for step in problem.steps:
            if step.index < first:
                before = problem.at(state, step).predict(problem.controls)
                state = before.sample(problem.controls.noise[step.index + 1])
    return Chain(problem, first, before)
