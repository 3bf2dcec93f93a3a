"""ReNO: optimises x_T of a few-step model by the reward of the finished image, with a regulariser that keeps the norm of Gaussian noise.

Notation (name -> paper): value -> eps, problem.sample -> G, regularisation -> lambda_reg, numel -> d, iterations -> n.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import attrs
import torch
from attrs.validators import optional

from tta_core.protocols.method import Needs, Snapshot
from tta_core.protocols.variables import Noise
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact, Objective, ZerothOrder
from tta_core.solving.problem import Problem
from tta_core.values.arguments import above, at_least, within
from tta_core.values.typing import Scores, evolve, frozen
from tta_plugins.methods.alone import each_alone
from tta_plugins.methods.line_search import LBFGS
from tta_plugins.methods.white_noise import Projection, project

CITATION = """@inproceedings{eyring2024reno,
  title = {{ReNO}: Enhancing One-step Text-to-Image Models through Reward-based Noise Optimization},
  author = {Eyring, Luca and Karthik, Shyamgopal and Roth, Karsten and Dosovitskiy, Alexey and Akata, Zeynep},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2406.04312},
  archivePrefix = {arXiv}
}"""


@frozen
class ReNO:
    """Maximises R(G(eps)) - lambda_reg (||eps||^2 / 2 - (d - 1) log ||eps||) over x_T; the iterate with the best reward is the result.

    Attributes:
        iterations: evaluations; the last one is not followed by an update.
        regularisation: lambda_reg, the weight of minus the log-density of the norm of d standard normals, which is highest at
            ||eps||^2 = d - 1.
        optimizer: the update rule; the paper uses SGD with Nesterov's momentum. `LBFGS()` is the authors' alternative: up to 10 updates per
            iteration, one sample after another.
        clip: largest norm of the gradient, per sample.
        project: after each step, "norm" restores the first norm of eps; "white" sets the spectrum and the blockwise norms to those of white
            noise.
        estimator: `ZerothOrder()` or `Hybrid2()` for a reward without gradient.
        stop_at: stop when every sample's reward has reached this value.

    If the sampler adds noise at its steps, this noise is not changed.

    Cost: each iteration T denoiser rows, a decode and a reward, forward and, except in the last, backward. With `LBFGS()`, the line
    searches add about 10 to 20 such evaluations per iteration.
    Source: ReNO (arXiv 2406.04312), algorithm 1; made for models of 1 to 4 steps (SD-Turbo, SDXL-Turbo, PixArt-DMD, FLUX-schnell). Its
    reward is 5 HPSv2 + ImageReward + 0.01 CLIP + 0.05 PickScore.
    Differs: norms and clipping are per sample, so that each sample of a batch is independent, and in float32. DOODL (arXiv 2303.13703) is
    similar to `ReNO(regularisation=0, project="norm")` with another sampler.
    """

    iterations: int = attrs.field(default=50, validator=at_least(1))
    regularisation: float = attrs.field(default=0.01, validator=at_least(0))
    optimizer: steering.UpdateRule | LBFGS = attrs.field(factory=lambda: steering.SGD(lr=5.0, momentum=0.9, nesterov=True))
    clip: float = attrs.field(default=0.1, validator=above(0))
    project: Projection | None = None
    estimator: Estimator = attrs.field(factory=Exact)
    stop_at: float | None = attrs.field(default=None, validator=optional(within(-1e30, 1e30)))

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """The whole chain is differentiated, except by finite differences."""
        chain = not isinstance(self.estimator, ZerothOrder)
        return Needs(self.variable, gradient=self.estimator.needs_gradient, chain=chain, one_trajectory=self.iterations == 1)

    @property
    def variable(self) -> Noise:
        """x_T."""
        return Noise(first=1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Iterate; the x0 of each snapshot is the best so far."""
        problem = problem.check(self.needs)
        if isinstance(self.optimizer, LBFGS) and len(problem.prompts) > 1:
            yield from each_alone(self.align, problem)
            return
        variable, objective, kept = self.variable, partial(self.objective, problem), None
        value = steering.leaves(variable.read(problem.controls))
        start, optimizer = steering.detached(value), self._optimizer(problem, value)
        for iteration in range(self.iterations):
            last = iteration + 1 == self.iterations
            with torch.set_grad_enabled(not last):
                evaluation, gradient = (objective(value), ()) if last else self.estimator(objective, value, problem, (iteration,))
            gradient = steering.clipped(gradient, self.clip) if gradient else ()
            now = evaluation.snapshot(iteration, self.iterations, variable.write(problem.controls, steering.detached(value)), gradient)
            now = evolve(now, images=evaluation.look.images)
            kept = kept.better(now) if kept else now
            if self._reached(kept.scores):
                break
            if iteration + 1 < self.iterations:
                yield evolve(now, x0=kept.x0, images=None)
                steering.ascend(optimizer, value, gradient)
                project(value, start, self.project)
        assert kept is not None
        yield evolve(kept, index=self.iterations - 1)

    def _optimizer(self, problem: Problem, value: steering.Tensors) -> torch.optim.Optimizer:
        if not isinstance(self.optimizer, LBFGS):
            return self.optimizer(value)

        def evaluate() -> tuple[Scores, steering.Tensors]:
            evaluation, gradient = self.estimator(partial(self.objective, problem), value, problem, (0,))
            return evaluation.total, steering.clipped(gradient, self.clip)

        return self.optimizer.optimizer(value, evaluate)

    def objective(self, problem: Problem, value: steering.Tensors) -> Objective:
        """R(G(eps)) - lambda_reg (||eps||^2 / 2 - (d - 1) log ||eps||), `value` being `(b, 1, c, h, w)`."""
        look = problem.look(problem.sample(self.variable.write(problem.controls, value)))
        penalties: dict[str, Scores] = {}
        if self.regularisation:
            square = steering.norm_square(value)
            penalties["norm"] = self.regularisation * (square / 2 - (value[0][0].numel() - 1) / 2 * square.log())
        return Objective(look, 1.0, penalties)

    def _reached(self, scores: Scores | None) -> bool:
        return self.stop_at is not None and scores is not None and bool((scores >= self.stop_at).all())
