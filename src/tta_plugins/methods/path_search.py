"""Search over paths: adds noise to each of N partly denoised samples M times, denoises the copies further, and keeps the best N.

Notation (name -> paper): paths -> N, children -> M, back -> Delta_f, forward -> Delta_b, both in steps here; look.scores -> the verifier.
"""

from collections.abc import Iterator
from typing import ClassVar

import attrs
import torch
from einops import rearrange
from torch import Tensor

from tta_core.errors import InputError
from tta_core.protocols.method import Needs, Snapshot
from tta_core.solving import steering
from tta_core.solving.look import Look
from tta_core.solving.problem import Problem
from tta_core.values.arguments import at_least
from tta_core.values.controls import Controls
from tta_core.values.trajectory import State
from tta_core.values.typing import Rows, frozen
from tta_plugins.methods.noise_search import CITATION


@frozen
class PathSearch:
    """Keeps N paths; at each level makes M noised copies of each, runs them `forward` steps, and keeps the best N of the N M.

    Attributes:
        paths: N of each prompt.
        children: M of each path.
        start: the step to which the first N samples are run.
        back: the number of steps that noise takes a copy back.
        forward: the number of steps that the copy is then run, more than `back`.

    Noise keys: x_T of path c is row 0, child c, noises of its steps rows i + 1, child c; the noise that takes copy m of path c back at
    level l is the direction (l, m, c).

    Cost: N start rows, then at each level N M forward rows and N M decodes and rewards; no backward.
    Source: inference-time scaling beyond denoising steps (arXiv 2501.09732), search over paths.
    Differs: written from the paper, which released no code. The paper gives levels as noise levels; these are steps of the sampler's
    table. The solver history of a copy starts empty after noise was added.
    """

    paths: int = attrs.field(default=2, validator=at_least(1))
    children: int = attrs.field(default=2, validator=at_least(1))
    start: int = attrs.field(default=4, validator=at_least(1))
    back: int = attrs.field(default=2, validator=at_least(1))
    forward: int = attrs.field(default=4, validator=at_least(2))

    citation: ClassVar[str] = CITATION

    def __attrs_post_init__(self) -> None:
        if self.forward <= self.back or self.back > self.start:
            raise InputError(
                f"PathSearch goes forward by {self.forward} and back by {self.back} from step {self.start}, so it makes no progress or "
                "goes before the first step. Give forward > back, and back <= start."
            )

    @property
    def needs(self) -> Needs:
        """It adds noise to x, so that the controls alone cannot repeat the run."""
        return Needs(moves_x=True, one_trajectory=False)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Run N samples to the first level; then go back and forward, and keep the best, until they are clean."""
        problem = problem.check(self.needs)
        total, controls = len(problem.steps), problem.controls
        state, level, turn = problem.start(controls, self.paths), min(self.start, total - 1), 0
        state = self._run(problem, state, 0, level)
        while level < total:
            reached, here = min(level - self.back + self.forward, total), max(level - self.back, 0)
            state = self._back(problem, state, here, level, turn)
            state = self._run(problem, state, here, reached)
            look = self._look(problem, state, controls, reached)
            rows = _best(look.scores, len(problem.prompts), self.paths)
            state, first = state[rows], steering.best(look.scores, len(problem.prompts))
            if reached < total:
                yield Snapshot(reached - 1, total, controls, look[first].x0, look.scores[first], look[first].parts)
            level, turn = reached, turn + 1
        yield problem.result(total, controls, look[rows])

    def _run(self, problem: Problem, state: State, start: int, stop: int) -> State:
        for step in problem.steps[start:stop]:
            noises = problem.children(problem.controls, step.index + 1, state.x.shape[0] // len(problem.prompts)).flatten(0, 1)
            with torch.no_grad():
                state = problem.at(state, step).predict(problem.controls).sample(noises)
        return state

    def _back(self, problem: Problem, state: State, here: int, level: int, turn: int) -> State:
        """M copies of each path, `(m k b)`, noised from one level back to another."""
        x = rearrange(state.x, "(k b) ... -> k b ...", k=self.paths)
        noise = torch.stack([problem.noises.like(x[c], turn, m, c) for m in range(self.children) for c in range(self.paths)])
        copies = state.x.repeat(self.children, 1, 1, 1)
        return State(problem.steps[here].back(copies, noise.flatten(0, 1), problem.steps[level]))

    def _look(self, problem: Problem, state: State, controls: Controls, reached: int) -> Look:
        with torch.no_grad():
            if reached == len(problem.steps):
                return problem.look(state.x)
            return problem.look(problem.at(state, problem.steps[reached]).predict(controls).x0)


def _best(scores: Tensor, samples: int, count: int) -> Rows:
    """The rows `(k b)` of each sample's best `count`, best first."""
    order = rearrange(scores, "(k b) -> k b", b=samples).argsort(dim=0, descending=True, stable=True)[:count]
    return (order * samples + torch.arange(samples, device=scores.device)).flatten()
