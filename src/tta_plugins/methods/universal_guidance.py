"""Universal Guidance: moves the clean estimate along the reward's gradient in x, then along its own gradient, k times per step.

Notation (name -> paper): strength -> s, repetitions -> k, backward_steps -> m, here.x0 -> z^0, y - x0 -> Delta z_0; the reward is minus
the loss. In clean latents epsilon^ = epsilon + s (1 - abar)^(1/2) grad loss is y = x0^ + s (s_t^2 / a_t) grad R.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal, cast

import attrs
import torch

from tta_core import Look, Needs, Problem, Snapshot
from tta_core.errors import IncompatibleError
from tta_core.protocols.backbone import Backbone, EncodesImages
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.solving import steering
from tta_core.solving.estimators import Estimator, Exact, Objective
from tta_core.values.arguments import at_least
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Every, Schedule
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.methods.guidance import LookAhead, back_noise, of_x0, transition_noise
from tta_plugins.methods.strength import Strength, strength_at

CITATION = """@inproceedings{bansal2023universal,
  title = {Universal Guidance for Diffusion Models},
  author = {Bansal, Arpit and Chu, Hong-Min and Schwarzschild, Avi and Sengupta, Soumyadip and Goldblum, Micah and
            Geiping, Jonas and Goldstein, Tom},
  booktitle = {Conference on Computer Vision and Pattern Recognition Workshops},
  year = {2023},
  eprint = {2302.07121},
  archivePrefix = {arXiv}
}"""


@frozen
class UniversalGuidance:
    """y = x0^ + strength (s^2 / a) dR(D(x0^)) / dx + Delta, Delta from `backward_steps` of ascent on R(D(x0^ + Delta)); x' = step(x, y).

    Attributes:
        strength: strength of the forward guidance; it multiplies the reward's gradient, so each reward needs its own value. 0 switches it
            off. `Damped` is exact for a quadratic reward on Gaussian data.
        repetitions: how often a step is repeated; before each repetition noise is added to the next x (self-recurrence).
        backward_steps: the number of steps of the backward guidance; none by default.
        optimizer: the update rule of the backward guidance, with a new state at each repetition; plain ascent by default, while the authors
            use `Adam(0.005)` on images.
        space: where the backward guidance works: "latents", or "pixels" (images in [0, 1], clamped, which are then encoded).
        start: where the backward guidance starts: the "unguided" x0^ as in the paper, or the "guided" one, as in the authors' code.
        branch: the estimate that the forward guidance uses: that of "both" branches, or of "null" alone (the authors' bounding boxes).
        updates: the steps that are guided.
        clamp: clamp look-aheads to [0, 1] before the reward.
        estimator: how both gradients are computed.

    Noise keys: x' of repetition r is sampled with row step + 1, child r; the noise back after it is `like(x, step, r)`, except after the
    last.
    Cost: each repetition 2 denoiser rows, 1 decode and 1 reward, forward and backward; each backward step 1 decode and reward more.
    Source: Universal Guidance (arXiv 2302.07121), algorithm 1.
    Differs: at a step with a = 0, where x contains nothing of x0, there is no forward guidance. The released code's DDIM sampler has no
    backward guidance; its other sampler runs without classifier-free guidance, samples the encoding, and stops a sample below a loss of
    1e-5, which is every sample if the loss is minus a similarity. Losses of several prompts are not mixed here.
    """

    strength: Strength = 5.0
    repetitions: int = attrs.field(default=1, validator=at_least(1))
    backward_steps: int = attrs.field(default=0, validator=at_least(0))
    optimizer: steering.UpdateRule = attrs.field(factory=steering.SGD)
    space: Literal["latents", "pixels"] = "latents"
    start: Literal["unguided", "guided"] = "unguided"
    branch: Literal["both", "null"] = "both"
    updates: Schedule = attrs.field(factory=Every)
    clamp: bool = True
    estimator: Estimator = attrs.field(factory=Exact)

    citation: ClassVar[str] = CITATION

    @property
    def needs(self) -> Needs:
        """A gradient of the reward; any sampler works, and the authors use DDIM with eta 0."""
        return Needs(gradient=self.estimator.needs_gradient, moves_x0=True, one_trajectory=self.repetitions == 1)

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Sample; at each step guide forward, then backward, and repeat the step."""
        problem = problem.check(self.needs)
        self._check(problem)
        controls, state, total = problem.controls, problem.start(problem.controls), len(problem.steps)
        for step in problem.steps:
            guided = bool(self.updates(step.index, total))
            strength = strength_at(self.strength, step, problem.steps) if guided and step.a > 0 else 0.0
            for r in range(self.repetitions):
                here = problem.at(state, step)
                if strength:
                    objective = LookAhead(problem, here, of_x0(problem, self.clamp), null_alone=self.branch == "null")
                    evaluation, gradient = self.estimator(objective, (state.x,), problem, (step.index, r, 0))
                    x0 = objective.prediction.x0
                    y = x0 + strength * step.s**2 / step.a * gradient[0]
                    snapshot = evaluation.snapshot(step.index, total, controls, gradient)
                else:
                    with torch.no_grad():
                        y = x0 = here.predict(controls).x0
                    snapshot = Snapshot(step.index, total, controls, x0)
                if guided and self.backward_steps:
                    begin = x0 if self.start == "unguided" else y
                    y = y + self.backward(problem, begin, (step.index, r)) - begin
                yield evolve(snapshot, readings={"shift": steering.norm((y - x0,))})
                after = here.believe(y).sample(transition_noise(problem, step, r))
                if r + 1 < self.repetitions:
                    state = evolve(state, x=step.back(after.x, back_noise(problem, step, r, after.x)))
            state = after
        yield problem.result(total, controls, state.x)

    def backward(self, problem: Problem, begin: Latents, key: tuple[int, ...]) -> Latents:
        """Clean latents after `backward_steps` of ascent on R(D(y)) from `begin`, or on R over images."""
        pixels = self.space == "pixels"
        with torch.no_grad():
            image = problem.look_ahead(begin, clamp=False).images if pixels else begin

        def of_images(value: steering.Tensors) -> Objective:
            return Objective(Look(as_batch(begin, len(value[0])), value[0], problem.score(value[0])), 1.0, {})

        value = steering.leaves((image,))
        objective, optimizer = of_images if pixels else of_x0(problem, self.clamp), self.optimizer(value)
        for m in range(self.backward_steps):
            if pixels:
                value[0].data.clamp_(0, 1)
            _, gradient = self.estimator(objective, value, problem, (*key, 1, m))
            steering.ascend(optimizer, value, gradient)
        if not pixels:
            return value[0].detach()
        with torch.no_grad():
            return cast(EncodesImages, _original(problem.backbone)).encode_image(value[0].detach().clamp(0, 1))

    def _check(self, problem: Problem) -> None:
        """Checks a requirement that `Needs` cannot express."""
        if self.space == "pixels" and self.backward_steps and not isinstance(_original(problem.backbone), EncodesImages):
            raise IncompatibleError(
                f"Cannot use space='pixels' with {name_of(problem.backbone)}. This is because images have to be encoded again, but it "
                "has no `encode_image`. Use space='latents'."
            )


def _original(backbone: Backbone) -> Backbone:
    """The backbone inside the wrappers of memory policies, which do not pass `encode_image` on."""
    return _original(backbone.backbone) if isinstance(backbone, WrappedBackbone) else backbone
