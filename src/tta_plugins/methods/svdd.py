"""SVDD: at each step the next x is chosen among M children by the reward of their look-aheads.

Notation (name -> paper): children -> M, alpha -> alpha, look.scores -> v(x_{t-1}), the posterior-mean value (SVDD-PM).
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch
from einops import rearrange
from torch import Tensor

from tta_core.protocols.method import Needs, Snapshot
from tta_core.solving import resampling, steering
from tta_core.solving.problem import Problem
from tta_core.values.arguments import above, at_least
from tta_core.values.typing import Rows, frozen

CITATION = """@misc{li2024svdd,
  title = {Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding},
  author = {Li, Xiner and Zhao, Yulai and Wang, Chenyu and Scalia, Gabriele and Eraslan, Gokcen and Nair, Surag and
            Biancalani, Tommaso and Ji, Shuiwang and Regev, Aviv and Levine, Sergey and Uehara, Masatoshi},
  year = {2024},
  eprint = {2408.08252},
  archivePrefix = {arXiv}
}"""


@frozen
class SVDD:
    """x_{t-1} is sampled among M children of x_t with probability proportional to exp(v / alpha), v = R(x0^(x_{t-1})).

    Attributes:
        children: M at each step except the last, which has one child that is not scored.
        alpha: temperature, in units of the reward; a smaller one selects more strictly.
        selection: "softmax", the paper's rule, whose distribution tends to p(x0) exp(R / alpha) as M grows; "argmax" uses the best child,
        as
            the released code does: it has no limit distribution, and the reward grows with M, without limit if the reward has no bound.

    Noise keys: child c of step i is row i + 1, child c; the choice at step i uses the uniform (i,).

    Cost: M (T - 1) + 1 denoiser rows of each branch, M (T - 1) decodes and rewards, and the result; no backward.
    Source: SVDD (arXiv 2408.08252), algorithm 1, posterior-mean value.
    Differs: a chosen child's evaluation is reused at the next step, so the cost is M (T - 1) + 1 evaluations. The released batched pipeline
    combines guidance branches and children wrongly; its unbatched one does not.
    """

    children: int = attrs.field(default=20, validator=at_least(1))
    alpha: float = attrs.field(default=0.01, validator=above(0))
    selection: Literal["softmax", "argmax"] = "softmax"

    citation: ClassVar[str] = CITATION

    @classmethod
    def released(cls) -> "SVDD":
        """The settings of the authors' code, which has only argmax; run it with 50 steps."""
        return cls(selection="argmax")

    @property
    def needs(self) -> Needs:
        """DDIM with eta 1, so that children differ; any reward works."""
        return Needs(eta=1.0, children=self.children > 1, one_trajectory=self.children == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """At each step, sample the children, score their look-aheads at the next step, and choose."""
        problem = problem.check(self.needs)
        controls, total = problem.controls, len(problem.steps)
        here = problem.at(problem.start(controls), problem.steps[0])
        for step in problem.steps[:-1]:
            noises = problem.children(problem.controls, step.index + 1, self.children)
            with torch.no_grad():
                prediction = here.predict(controls)
                children = problem.at(prediction.branch(noises), problem.steps[step.index + 1])
                look = problem.look(children.predict(controls).x0)
            rows = self._chosen(problem, look.scores, step.index)
            here, controls = children.take(rows), controls.branched(step.index + 1, noises)[rows]
            readings = {"values": rearrange(look.scores, "(k b) -> k b", k=self.children), "chosen": rows // len(problem.prompts)}
            yield Snapshot(step.index, total, controls, look[rows].x0, look.scores[rows], look[rows].parts, readings=readings)
        with torch.no_grad():
            end = here.predict(controls).sample(controls.noise[total])
        yield problem.result(total, controls, end.x)

    def _chosen(self, problem: Problem, scores: Tensor, index: int) -> Rows:
        if self.selection == "argmax" or self.children == 1:
            return steering.best(scores, len(problem.prompts))
        weights = torch.softmax(rearrange(scores.double(), "(k b) -> k b", k=self.children) / self.alpha, 0)
        return resampling.drawn(weights, problem.uniform(1, index))
