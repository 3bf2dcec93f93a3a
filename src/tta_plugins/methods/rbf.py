"""RBF: chains that go to the next step as soon as a child is better, and use the saved budget there.

Notation (name -> paper): evaluations -> N, chains -> C, quota -> the evaluations that a step may use.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core.errors import InputError
from tta_core.protocols.method import Needs, Snapshot
from tta_core.solving.look import Look
from tta_core.solving.problem import Problem
from tta_core.values.arguments import at_least
from tta_core.values.controls import Controls
from tta_core.values.trajectory import Prediction, State
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.methods.alone import alone, joined

CITATION = """@inproceedings{kim2025rbf,
  title = {Inference-Time Scaling for Flow Models via Stochastic Generation and Rollover Budget Forcing},
  author = {Kim, Jaihoon and Yoon, Taehoon and Hwang, Jisung and Sung, Minhyuk},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2503.19385},
  archivePrefix = {arXiv}
}"""


@frozen
class _Evaluated:
    """An evaluated state: the prediction at step `index`, its controls, and the look-ahead."""

    index: int
    prediction: Prediction
    controls: Controls
    look: Look

    @property
    def score(self) -> float:
        """The reward of the look-ahead."""
        return self.look.scores.item()


@attrs.define
class _Chain:
    """The state of a chain: its current state, its budget and evaluations at this step, its best child, and its best score so far."""

    current: _Evaluated
    budget: int
    used: int = 0
    child: _Evaluated | None = None
    best: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.best = self.current.score

    def move(self, budget: int) -> None:
        """Go to the best child of this step."""
        self.current, self.child, self.used, self.budget = self.child or self.current, None, 0, budget


@frozen
class RBF:
    """Samples children of a chain's x one by one. The chain moves to the first child that is better than all before, or to the best one
    when the quota is used up.

    Attributes:
        evaluations: N, denoiser evaluations for each prompt (the two branches of guidance count as one).
        chains: C, independent searches for one prompt; the best is the result.
        starts: the number of candidates for x_T; each chain uses the one with the best look-ahead.
        spend: "all"; the "released" code leaves up to C evaluations unused.

    Noise keys: x_T of chain c, start j is row 0, child c * starts + j; child n (from 0 at each step) of chain c at step i is row i + 1,
    child n * chains + c.

    Cost: `evaluations` denoiser rows of each branch, decodes and rewards; no backward. The paper uses 500 with FLUX-schnell in 10 steps.
    Source: rollover budget forcing (arXiv 2503.19385), algorithm 1.
    Differs: the result is the best look-ahead at the last step, as there; this equals a last step to clean latents. Flow models need a
    stochastic sampler ("flow-sde"); the paper's change of a flow's noise schedule is not implemented. Prompts and chains are evaluated one
    row at a time, because each is at its own step.
    """

    evaluations: int = attrs.field(default=500, validator=at_least(1))
    chains: int = attrs.field(default=2, validator=at_least(1))
    starts: int = attrs.field(default=25, validator=at_least(1))
    spend: Literal["all", "released"] = "all"

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """DDIM with eta 1, so that children differ; any reward works."""
        return Needs(eta=1.0, children=True, one_trajectory=False)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Search for each prompt separately; a snapshot has all of them after the same number of children."""
        problem = problem.check(self.needs)
        steps = len(problem.steps)
        quota = (self.evaluations - self.chains * self.starts) // (steps * self.chains)
        if quota < 1:
            least = self.chains * (self.starts + steps)
            raise InputError(
                f"RBF.evaluations is {self.evaluations}, too few for one child per step. Give at least {least}, or fewer starts."
            )
        left = self.evaluations - self.chains * self.starts - (self.spend == "released")
        total = 1 + (left // self.chains if steps > 1 else 0)
        searches = [self._search(alone(problem, sample), quota, total) for sample in range(len(problem.prompts))]
        for found in zip(*searches, strict=True):
            yield joined(found, problem.controls)

    def _search(self, problem: Problem, quota: int, total: int) -> Iterator[Snapshot]:
        """The search for one prompt; each child of each chain is one evaluation."""
        chains = [_Chain(self._start(problem, c), quota) for c in range(self.chains)]
        yield self._snapshot(problem, chains, 0, total)
        for draw in range(1, total):
            for c, chain in enumerate(chains):
                here, row = chain.current, chain.current.index + 1
                noise = _noise(problem, row, chain.used * self.chains + c)
                child = _evaluated(problem, here.prediction.sample(noise), row, here.controls.branched(row, noise[None]))
                chain.used += 1
                if chain.child is None or child.score > chain.child.score:
                    chain.child = child
                movable, better = row < len(problem.steps) - 1, child.score > chain.best
                chain.best = max(chain.best, child.score)
                if movable and better:
                    chain.move(chain.budget - chain.used + quota)
                elif movable and chain.used % chain.budget == 0:
                    chain.move(quota)
            yield self._snapshot(problem, chains, draw, total)

    def _start(self, problem: Problem, c: int) -> _Evaluated:
        """The best of a chain's starts."""
        noises = [_noise(problem, 0, c * self.starts + j)[None] for j in range(self.starts)]
        starts = [_evaluated(problem, problem.started(noise), 0, problem.controls.branched(0, noise)) for noise in noises]
        return max(starts, key=lambda start: start.score)

    @staticmethod
    def _snapshot(problem: Problem, chains: list[_Chain], index: int, total: int) -> Snapshot:
        best = max((chain.child or chain.current for chain in chains), key=lambda state: state.score)
        counts = {name: [getattr(chain, name) for chain in chains] for name in ("used", "budget", "best")}
        readings = counts | {"step": [chain.current.index for chain in chains]}
        tensors = {name: torch.tensor(values)[:, None] for name, values in readings.items()}
        return evolve(problem.result(total, best.controls, best.look, readings=tensors), index=index)


def _evaluated(problem: Problem, state: State, index: int, controls: Controls) -> _Evaluated:
    """One evaluation: the look-ahead at a step."""
    with torch.no_grad():
        prediction = problem.at(state, problem.steps[index]).predict(controls)
        return _Evaluated(index, prediction, controls, problem.look(prediction.x0))


def _noise(problem: Problem, row: int, child: int) -> Latents:
    """A child's noise; for child 0 it is that of the controls."""
    return problem.noises(row, child) if child else problem.controls.noise[row]
