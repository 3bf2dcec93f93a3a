"""A sampler and noises that record each request, to count how often a method samples."""

from collections.abc import Sequence

import attrs
import torch

from tta_core.protocols.scheduler import Scheduler
from tta_core.values.noise import NoiseSource, Permutations
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.transition import GaussianTransition
from tta_core.values.typing import Latents, Noises


@attrs.define
class Watched:
    """Passes everything on.

    Attributes:
        visits: the steps predicted at, in order.
        children: the children whose noises were drawn.
        starts: the first x of each step.
        drawn: the transitions of each step, in order.
    """

    scheduler: Scheduler
    noises: NoiseSource
    visits: list[int] = attrs.field(factory=list)
    children: set[int] = attrs.field(factory=set)
    starts: dict[int, Latents] = attrs.field(factory=dict)
    drawn: dict[int, list[GaussianTransition]] = attrs.field(factory=dict)

    @property
    def steps(self) -> Sequence[Step]:
        """The sampler's."""
        return self.scheduler.steps

    @property
    def initial_std(self) -> float:
        """The sampler's."""
        return self.scheduler.initial_std

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The sampler's, noted."""
        self.visits.append(step.index)
        self.starts.setdefault(step.index, state.x.detach().clone())
        return self._noted(self.scheduler.predict(state, output, step), step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The sampler's, noted."""
        return self._noted(self.scheduler.believe(state, x0, step), step)

    def strayed(self, noise: Noises, last: Latents) -> float:
        """How far the x that a step begins with, or the last x, is from all that the sampler could have drawn with these noises.

        Of more rows than samples, as estimators of gradients have, the first are the samples'.
        """
        ends = {index - 1: x for index, x in self.starts.items() if index > 0} | {len(self.steps) - 1: last}

        def apart(index: int, x: Latents) -> float:
            draws = [transition[: len(last)].sample(noise[index + 1]) for transition in self.drawn[index]]
            return min((draw - x[: len(last)]).abs().max().item() for draw in draws)

        return max(apart(index, x) for index, x in ends.items())

    def _noted(self, prediction: Prediction, step: Step) -> Prediction:
        self.drawn.setdefault(step.index, []).append(prediction.detached().transition)
        return prediction

    def __call__(self, row: int, child: int) -> Latents:
        """The noise, noted."""
        self.children.add(child)
        return self.noises(row, child)

    def like(self, tensor: torch.Tensor, *key: int) -> torch.Tensor:
        """The noises' own."""
        return self.noises.like(tensor, *key)

    def permutations(self, count: int, length: int, *key: int) -> Permutations:
        """The noises' own."""
        return self.noises.permutations(count, length, *key)
