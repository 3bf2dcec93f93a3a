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
    """Passes each request on to a sampler and a noise source, and records it.

    Attributes:
        visits: the indices of the steps of predictions, in order.
        children: the children whose noises were requested.
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
        """Same as the sampler's."""
        return self.scheduler.steps

    @property
    def initial_std(self) -> float:
        """Same as the sampler's."""
        return self.scheduler.initial_std

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The sampler's prediction; it is recorded."""
        self.visits.append(step.index)
        self.starts.setdefault(step.index, state.x.detach().clone())
        return self._recorded(self.scheduler.predict(state, output, step), step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The sampler's prediction; it is recorded."""
        return self._recorded(self.scheduler.believe(state, x0, step), step)

    def difference(self, noise: Noises, last: Latents) -> float:
        """The largest difference of an x, at the start of a step or at the end, to the nearest sample of the sampler with these noises.

        If there are more rows than samples, as for gradient estimators, only the first rows, those of the samples, are compared.
        """
        ends = {index - 1: x for index, x in self.starts.items() if index > 0} | {len(self.steps) - 1: last}

        def apart(index: int, x: Latents) -> float:
            samples = [transition[: len(last)].sample(noise[index + 1]) for transition in self.drawn[index]]
            return min((sample - x[: len(last)]).abs().max().item() for sample in samples)

        return max(apart(index, x) for index, x in ends.items())

    def _recorded(self, prediction: Prediction, step: Step) -> Prediction:
        self.drawn.setdefault(step.index, []).append(prediction.detached().transition)
        return prediction

    def __call__(self, row: int, child: int) -> Latents:
        """The noise; the child is recorded."""
        self.children.add(child)
        return self.noises(row, child)

    def like(self, tensor: torch.Tensor, *key: int) -> torch.Tensor:
        """Same as the noise source's."""
        return self.noises.like(tensor, *key)

    def permutations(self, count: int, length: int, *key: int) -> Permutations:
        """Same as the noise source's."""
        return self.noises.permutations(count, length, *key)
