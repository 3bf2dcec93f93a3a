"""DNO: optimises the noise of the whole chain by the reward of the finished image, with a regulariser for white noise.

Notation (name -> paper): value -> z = (x_T, z_1 .. z_T), problem.sample -> M, regularisation -> gamma, opt_steps ->
the released code's opt_time.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import attrs
import torch
from attrs.validators import optional
from torch import Tensor

from tta_core.protocols.method import Needs, Snapshot
from tta_core.protocols.variables import Noise
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact, Objective, ZerothOrder
from tta_core.solving.problem import Problem
from tta_core.values.arguments import above, at_least, within
from tta_core.values.schedules import AllButLast, Schedule
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.chain import Chain, chain_from
from tta_plugins.methods.probability_regulariser import probability_regulariser
from tta_plugins.methods.white_noise import Projection, project

CITATION = """@inproceedings{tang2025dno,
  title = {Inference-Time Alignment of Diffusion Models with Direct Noise Optimization},
  author = {Tang, Zhiwei and Peng, Jiangweizhi and Tang, Jiasheng and Hong, Mingyi and Wang, Fan and Chang, Tsung-Hui},
  booktitle = {International Conference on Machine Learning},
  year = {2025},
  eprint = {2405.18881},
  archivePrefix = {arXiv}
}"""


@frozen
class DNO:
    """Maximises R(M(z)) - gamma Reg(z) over all noises of the chain; the best iterate is the result.

    Attributes:
        iterations: updates; one more evaluation scores the last iterate.
        regularisation: gamma; with 0 the noise can become unlike white noise, and images degrade.
        opt_steps: n steers the noises of the last n + 1 steps. Most samplers use n of them, since the last step adds no noise. The chain
            before them is sampled once, without a graph. None, or the number of steps: all noises, and x_T.
        eta: the sampler's eta; at 0 the steps use no noise, and only x_T is steered. Give `DNO(eta=0)`, not `align(eta=0)`.
        optimizer: the update rule; the released code uses `AdamW(weight_decay=0.01)`, which shrinks the noise itself.
        clip: largest norm of the gradient, per sample.
        project: after each step, "norm" restores the first norm of the noises; "white" sets the spectrum and the blockwise norms to those
            of white noise, which the regulariser does not control, because it sums over all of the noise.
        shuffles, subsample: settings of the regulariser, see `probability_regulariser`.
        estimator: `Hybrid2()` is the paper's best for a reward without gradient.
        stop_at: stop when every sample's reward has reached this value.
        clamp: clamp images to [0, 1] before the reward.

    Cost: each iteration the whole chain, a decode and a reward, forward and backward; at the end once more, forward only.

    Source: DNO (arXiv 2405.18881), algorithm 1 and section 4.
    Differs: gradients are clipped per sample, so that each sample of a batch is independent; weight decay is off by default; the last
    transition adds noise as the sampler does; only the result of each iteration is decoded. `DNO.released()` adds no noise at the last
    transition, uses weight decay and does not clamp the reward's images, as in the authors' code; but there the decay also applies to the
    noises that `opt_steps` or eta 0 leave out.
    """

    iterations: int = attrs.field(default=100, validator=at_least(0))
    regularisation: float = attrs.field(default=1.0, validator=at_least(0))
    opt_steps: int | None = attrs.field(default=None, validator=optional(at_least(1)))
    eta: float | Schedule = 1.0
    optimizer: steering.UpdateRule = attrs.field(factory=lambda: steering.AdamW(lr=0.01))
    clip: float = attrs.field(default=1.0, validator=above(0))
    project: Projection | None = attrs.field(default=None, kw_only=True)
    shuffles: int = attrs.field(default=100, validator=at_least(1))
    subsample: int = attrs.field(default=1, validator=within(0, 10))
    estimator: Estimator = attrs.field(factory=Exact)
    stop_at: float | None = attrs.field(default=None, validator=optional(within(-1e30, 1e30)))
    clamp: bool = True

    citation: ClassVar[str] = CITATION

    @classmethod
    def released(cls) -> "DNO":
        """The settings of the authors' code; their guidance is 5."""
        return cls(eta=AllButLast(), optimizer=steering.AdamW(lr=0.01, weight_decay=0.01), clamp=False)

    @classmethod
    def fast(cls) -> "DNO":
        """Five updates of twenty times the length instead of 100, and a regulariser with 20 permutations instead of 100.

        This is a twentieth of the default's work. For the loss in reward, see the page on performance.
        """
        return cls(iterations=5, optimizer=steering.AdamW(lr=0.2), shuffles=20)

    @property
    def needs(self) -> Needs:
        """The whole chain is differentiated, except by finite differences; for its memory, see the policy "segments"."""
        chain = not isinstance(self.estimator, ZerothOrder)
        return Needs(self.variable, gradient=self.estimator.needs_gradient, eta=self.eta, chain=chain, one_trajectory=False)

    @property
    def variable(self) -> Noise:
        """The steered rows of the noise."""
        if self.eta == 0:
            return Noise(first=1)
        return Noise(None if self.opt_steps is None else self.opt_steps + 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Iterate; the x0 of each snapshot is the best so far."""
        problem = problem.check(self.needs)
        variable, kept, chain = self.variable, None, self.chain(problem)
        value = steering.leaves(variable.read(problem.controls))
        start, optimizer = steering.detached(value), self.optimizer(value)
        for iteration in range(self.iterations):
            evaluation, gradient = self.estimator(partial(self.objective, problem, chain, iteration), value, problem, (iteration,))
            gradient = steering.clipped(gradient, self.clip)
            now = evaluation.snapshot(iteration, self.iterations, variable.write(problem.controls, steering.detached(value)), gradient)
            kept = kept.better(now) if kept else now
            yield evolve(now, x0=kept.x0)
            if self.stop_at is not None and kept.scores is not None and bool((kept.scores >= self.stop_at).all()):
                break
            steering.ascend(optimizer, value, gradient)
            project(value, start, self.project)
        controls = variable.write(problem.controls, steering.detached(value))
        with torch.no_grad():
            last = problem.result(self.iterations, controls, chain.sample(controls), self.clamp)
        yield kept.better(last) if kept else last

    def chain(self, problem: Problem) -> Chain:
        """M, from the first steered noise on."""
        return chain_from(problem, 0 if self.eta == 0 or self.opt_steps is None else max(0, len(problem.steps) - self.opt_steps))

    def objective(self, problem: Problem, chain: Chain, iteration: int, value: steering.Tensors) -> Objective:
        """R(M(z)) - gamma Reg(z) at the steered noises, `(b, rows, c, h, w)`."""
        look = problem.look(chain.sample(self.variable.write(problem.controls, value)), self.clamp)
        penalties: dict[str, Tensor] = {}
        if self.regularisation:
            flat = value[0].flatten(1)
            shuffles = problem.noises.permutations(self.shuffles, flat.shape[1], iteration)
            regulariser = probability_regulariser(flat, shuffles, subsample=self.subsample)
            penalties["probability"] = self.regularisation * regulariser
        return Objective(look, 1.0, penalties)
