"""Noise search: searches x_T by generating whole samples, without a gradient: at random, or around the best one so far.

Notation (name -> paper): base -> the pivot noise, neighbours -> N, similarity -> tau (their threshold), rounds -> search rounds.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core.protocols.method import Needs, Snapshot
from tta_core.solving.problem import Problem
from tta_core.values.arguments import at_least, within
from tta_core.values.typing import Latents, evolve, frozen

CITATION = """@inproceedings{ma2025scaling,
  title = {Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps},
  author = {Ma, Nanye and Tong, Shangyuan and Jia, Haolin and Hu, Hexiang and Su, Yu-Chuan and Zhang, Mingda and Yang,
            Xuan and Li, Yandong and Jaakkola, Tommi and Jia, Xuhui and Xie, Saining},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2025},
  eprint = {2501.09732},
  archivePrefix = {arXiv}
}"""


@frozen
class NoiseSearch:
    """Samples from many x_T and keeps the best; "zero-order" chooses them near the best so far, "random" independently.

    Attributes:
        search: "random": round r = 1, 2 .. uses 2^r new noises. "zero-order": each round uses `neighbours` noises near the best so far.
        rounds: the number of rounds; 0 is plain sampling.
        neighbours: N, the number of noises in a round of "zero-order".
        similarity: tau, the cosine between a neighbour and its base; both have the same norm.

    Noise keys: new noises are row 0, children 0, 1 ..; the direction of neighbour j (from 0) in round r (from 0) is (r, j).

    Cost: 2^(rounds + 1) - 2 whole samples ("random"), 1 + rounds * neighbours ("zero-order"); no backward.
    Source: inference-time scaling beyond denoising steps (arXiv 2501.09732), random search and zero-order search.
    Differs: the base's score is kept, so that a round of "zero-order" costs N samples (the first one more). The base is kept if no
    neighbour is better, as in the paper, while the released code (tt-scale-flux) continues from new noise and may lose the best. The first
    noise is the baseline's, so that the result never scores lower than the baseline. "random" keeps the best of all rounds.
    """

    search: Literal["random", "zero-order"] = "zero-order"
    rounds: int = attrs.field(default=4, validator=at_least(0))
    neighbours: int = attrs.field(default=4, validator=at_least(1))
    similarity: float = attrs.field(default=0.95, validator=within(-1, 1))

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """No requirements; any reward works."""
        return Needs(one_trajectory=self.rounds == 0)

    @property
    def samples(self) -> int:
        """The number of whole samples of each prompt."""
        if self.rounds == 0:
            return 1
        return 2 ** (self.rounds + 1) - 2 if self.search == "random" else 1 + self.rounds * self.neighbours

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Generate one sample after another, so that the memory need is that of one; each snapshot is the best so far."""
        problem = problem.check(self.needs)
        best = self._sampled(problem, problem.controls.noise[0], 0)
        base = best.controls.noise[0]
        yield best
        for place in range(1, self.samples):
            if self.search == "random":
                noise = problem.noises(0, place)
            else:
                turn, j = divmod(place - 1, self.neighbours)
                base = base if j else best.controls.noise[0]
                noise = neighbour(base, problem.noises.like(base, turn, j), self.similarity)
            best = best.better(self._sampled(problem, noise, place))
            yield best

    def _sampled(self, problem: Problem, noise: Latents, place: int) -> Snapshot:
        """The sample from an x_T, with the noises of the problem at the steps."""
        controls = problem.controls.branched(0, noise[None])
        with torch.no_grad():
            return evolve(problem.result(self.samples, controls, problem.sample(controls)), index=place)


def neighbour(base: Latents, direction: Latents, similarity: float) -> Latents:
    """||z|| (tau u + sqrt(1 - tau^2) w), u = z / ||z||, w the direction's unit part orthogonal to it; in double precision, per sample."""
    flat, v = base.double().flatten(1), direction.double().flatten(1)
    length = flat.norm(dim=1, keepdim=True)
    u = flat / length
    w = torch.nn.functional.normalize(v - (v * u).sum(1, keepdim=True) * u, dim=1)
    return (length * (similarity * u + (1 - similarity**2) ** 0.5 * w)).view_as(base).to(base)
