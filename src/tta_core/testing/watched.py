"""A sampler and noises that record each request, to count how often a method samples."""

from collections.abc import Sequence

import attrs
import torch

from tta_core.protocols.scheduler import Scheduler
from tta_core.values.noise import NoiseSource, Permutations
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.typing import Latents


@attrs.define
class Watched:
    """Passes everything on; `visits` are the steps predicted at, in order, `children` the children whose noises were drawn."""

    scheduler: Scheduler
    noises: NoiseSource
    visits: list[int] = attrs.field(factory=list)
    children: set[int] = attrs.field(factory=set)

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
        return self.scheduler.predict(state, output, step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The sampler's."""
        return self.scheduler.believe(state, x0, step)

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
