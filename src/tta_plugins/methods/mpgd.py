"""Manifold Preserving Guided Diffusion: moves the clean estimate along its reward's gradient, without differentiating the denoiser.

Notation (name -> paper): strength -> c_t, prediction.x0 -> x_0|t, gradient -> - grad_x0|t L.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs
import torch

from tta_core import Needs, Problem, Snapshot
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact
from tta_core.values.arguments import at_least
from tta_core.values.schedules import Every, Schedule, Window
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.guidance import back_noise, of_x0, refuse_without_guidance, share_of_guidance, transition_noise
from tta_plugins.methods.strength import Strength, strength_at

CITATION = """@inproceedings{he2024mpgd,
  title = {Manifold Preserving Guided Diffusion},
  author = {He, Yutong and Murata, Naoki and Lai, Chieh-Hsin and Takida, Yuhta and Uesaka, Toshimitsu and Kim, Dongjun
            and Liao, Wei-Hsiang and Mitsufuji, Yuki and Kolter, J. Zico and Salakhutdinov, Ruslan and Ermon, Stefano},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2311.16424},
  archivePrefix = {arXiv}
}"""


@frozen
class MPGD:
    """y = x0^ + strength dR(D(x0^)) / dx0^; x' = step from (x, y).

    Attributes:
        strength: c_t; its unit depends on `relative`.
        relative: "no": c_t, in units of x0 per unit of the gradient; "guidance": c_t times w rms(e_text - e_null) / rms(gradient), per
            sample.
        noise: "kept": the predicted noise stays, as in the paper; "recomputed": x stays and the noise is computed from x and y.
        updates: the steps that are guided.
        repetitions: how often a guided step is repeated; before each repetition noise is added to the next x.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: how the gradient is computed.

    Noise keys: x' of repetition r is sampled with row step + 1, child r; the noise back after it is `like(x, step, r)`, except after the
    last.
    Cost: plain sampling, and each repetition 1 decode and 1 reward, forward and backward.
    Source: MPGD (arXiv 2311.16424), algorithm 1 without a manifold projection.
    Differs: the authors' code for Stable Diffusion overwrites rho inside its loop of repetitions, so that the factor is applied again in
    each; here it is not. Norms are per sample.
    """

    strength: Strength = 1.0
    relative: Literal["no", "guidance"] = "no"
    noise: Literal["kept", "recomputed"] = "kept"
    updates: Schedule = attrs.field(factory=Every)
    repetitions: int = attrs.field(default=1, validator=at_least(1))
    clamp: bool = True
    estimator: Estimator = attrs.field(factory=Exact)

    citation: ClassVar[str] = CITATION

    @classmethod
    def for_stable_diffusion(cls) -> "MPGD":
        """The settings of the authors' code for Stable Diffusion, without the repeated factor."""
        return cls(15.0, "guidance", "recomputed", Window(0.3, 0.7), clamp=False)

    @property
    def needs(self) -> Needs:
        """A gradient of the reward; any sampler works."""
        return Needs(gradient=self.estimator.needs_gradient, moves_x0=True, one_trajectory=self.repetitions == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample, moving the clean estimate at the guided steps."""
        problem = problem.check(self.needs)
        if self.relative == "guidance":
            refuse_without_guidance(problem)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            strength = strength_at(self.strength, step, problem.steps) if self.updates(step.index, total) else 0.0
            repetitions = self.repetitions if self.updates(step.index, total) else 1
            for r in range(repetitions):
                here = problem.at(state, step)
                with torch.no_grad():
                    prediction = here.predict(controls)
                if strength:
                    evaluation, gradient = self.estimator(of_x0(problem, self.clamp), (prediction.x0,), problem, (step.index, r, 0))
                    yield evaluation.snapshot(step.index, total, controls, gradient)
                    if self.relative == "guidance":
                        gradient = steering.scaled(gradient, share_of_guidance(problem, here, prediction, gradient))
                    y = prediction.x0 + strength * gradient[0]
                    prediction = here.believe(y, prediction.eps if self.noise == "kept" else None)
                else:
                    yield Snapshot(step.index, total, controls, prediction.x0)
                after = prediction.sample(transition_noise(problem, step, r))
                if r + 1 < repetitions:
                    state = evolve(state, x=step.back(after.x, back_noise(problem, step, r, after.x)))
            state = after
        yield problem.result(total, controls, state.x)
