"""The backbone, the sampler and the guidance of a method whose trajectory the pipeline samples."""

from collections.abc import Sequence

import attrs
import torch

from tta_core.errors import IncompatibleError
from tta_core.protocols.scheduler import Scheduler
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.controls import Embedding
from tta_core.values.schedules import Multiplied, Schedule
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.family import FamilyBackbone
from tta_plugins.backbones.guidance import rescaled
from tta_plugins.backbones.hook_refusals import KEPT_NOISE
from tta_plugins.backbones.lockstep import LockstepRun


def lockstep_backbone(backbone: FamilyBackbone, lockstep: LockstepRun) -> WrappedBackbone:
    """A backbone that evaluates its branches by repeating the pipeline's calls."""

    def predict(x: Latents, step: Step, embedding: Embedding) -> Latents:
        place = lockstep.arrived(step.index)
        change = lockstep.moved(x) * step.input_scale
        output = place.call.output(embedding, change if change.requires_grad or change.any() else None)
        lockstep.evaluated(output, embedding)
        return output

    def combine(text: Latents, null: Latents, guidance: float) -> Latents:
        lockstep.predicted(text, null)
        return rescaled(backbone.combine(text, null, guidance), text, getattr(backbone.pipeline, "guidance_rescale", None) or 0.0)

    return WrappedBackbone(backbone, predicting=predict, combining=combine)


@attrs.frozen
class LockstepScheduler:
    """A sampler that predicts from the pipeline's x."""

    scheduler: Scheduler
    lockstep: LockstepRun = attrs.field(repr=False)

    @property
    def steps(self) -> Sequence[Step]:
        """Same as the wrapped scheduler's."""
        return self.scheduler.steps

    @property
    def initial_std(self) -> float:
        """Same as the wrapped scheduler's."""
        return self.scheduler.initial_std

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The prediction at the pipeline's x; the history is the method's own."""
        place = self.lockstep.arrived(step.index)
        if place.guidance <= 1:
            self.lockstep.predicted(output, None)
        x = as_batch(place.x, state.x.shape[0]) + self.lockstep.moved(state.x)
        return self.scheduler.predict(evolve(state, x=x), output, step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The prediction for another clean estimate: the pipeline gets the denoiser output that leads to this estimate.

        If x was changed as well (the predicted noise is kept), the pipeline gets the clean estimate whose next x has the same mean. With a
        sampler of the second order, which stores the estimate, this raises `IncompatibleError`.
        """
        place = self.lockstep.arrived(step.index)
        there = evolve(state, x=place.x)
        if not self.lockstep.moved(state.x).any():
            self._replace_output(there, x0, step)
            return self.scheduler.believe(there, x0, step)
        if any(other.order > 1 for other in self.steps):
            raise IncompatibleError(KEPT_NOISE)
        prediction = self.scheduler.believe(state, x0, step)
        difference = prediction.transition.mean - self.scheduler.believe(there, x0, step).transition.mean
        none, one = (torch.full_like(place.x[:1, :1, :1, :1], value) for value in (0.0, 1.0))
        self._replace_output(there, x0 + difference / self.scheduler.believe(State(none), one, step).transition.mean, step)
        return prediction

    def _replace_output(self, state: State, x0: Latents, step: Step) -> None:
        """Computes the denoiser output that leads to this clean estimate, which is linear in x and the output."""
        none, one = (torch.full_like(state.x[:1, :1, :1, :1], value) for value in (0.0, 1.0))
        slope = self.scheduler.predict(State(none), one, step).x0
        self.lockstep.with_output((x0 - self.scheduler.predict(state, torch.zeros_like(x0), step).x0) / slope)


@attrs.frozen
class LockstepGuidance:
    """The guidance of the pipeline's call, step by step; before the method's first prediction, that of the first step."""

    lockstep: LockstepRun = attrs.field(repr=False)
    first: float

    def __call__(self, index: int, total: int) -> float:
        """The guidance of this step; waits until the pipeline is there."""
        return self.lockstep.arrived(index).guidance if self.lockstep.has_begun else self.first

    def __mul__(self, other: Schedule) -> Schedule:
        """The product of two schedules."""
        return Multiplied(self, other)
