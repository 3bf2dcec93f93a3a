"""Splits a problem into one problem for each sample, and joins the snapshots, for methods whose samples are at different steps."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from tta_core.protocols.method import Snapshot
from tta_core.solving.problem import Problem
from tta_core.values.controls import Branches, Controls
from tta_core.values.noise import NoiseSource, Permutations
from tta_core.values.typing import Latents, evolve, frozen


@frozen
class _OneSample:
    """The noises of one sample."""

    noises: NoiseSource
    sample: int

    def __call__(self, row: int, child: int) -> Latents:
        return self.noises(row, child)[self.sample : self.sample + 1]

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """The direction of this sample."""
        return self.noises.like(tensor.expand(self.sample + 1, *tensor.shape[1:]), *key)[self.sample : self.sample + 1]

    def permutations(self, count: int, length: int, *key: int) -> Permutations:
        """The sample's row of all samples' permutations."""
        return self.noises.permutations(count, length, *key)


def alone(problem: Problem, sample: int) -> Problem:
    """The problem of one sample."""
    row = torch.tensor([sample], device=problem.controls.noise.device)
    controls = problem.controls
    own = Controls(controls.text[row], controls.null and controls.null[row], controls.noise[:, row])
    by_step = {index: Branches(here.text and here.text[row], here.null and here.null[row]) for index, here in controls.by_step.items()}
    return evolve(
        problem,
        prompts=(problem.prompts[sample],),
        controls=evolve(own, by_step=by_step),
        noises=_OneSample(problem.noises, sample),
        origin=None if problem.origin is None else problem.origin[row],
        plain=None,
    )


def each_alone(run: Callable[[Problem], Iterator[Snapshot]], problem: Problem) -> Iterator[Snapshot]:
    """Runs a method for each sample separately and joins the snapshots; a sample that ends early keeps its last snapshot."""
    runs = [run(alone(problem, sample)) for sample in range(len(problem.prompts))]
    latest: list[Snapshot] = []
    for now in zip_longest(*runs):
        latest = [new or old for new, old in zip_longest(now, latest)]
        yield evolve(joined(latest, problem.controls), index=min(snapshot.index for snapshot in latest))


def joined(snapshots: Sequence[Snapshot], controls: Controls) -> Snapshot:
    """The snapshots of single samples as one, with the index of the first; embeddings are those of `controls`."""
    first = snapshots[0]
    noise = torch.cat([snapshot.controls.noise for snapshot in snapshots], 1)
    images = [snapshot.images for snapshot in snapshots]
    parts = {name: _together([snapshot.parts[name] for snapshot in snapshots]) for name in first.parts}
    readings = {name: torch.cat([snapshot.readings[name] for snapshot in snapshots], 1) for name in first.readings}
    return Snapshot(
        first.index,
        first.total,
        evolve(controls, noise=noise),
        _together([snapshot.x0 for snapshot in snapshots]),
        _together([snapshot.scores for snapshot in snapshots]),
        parts,
        images=None if any(image is None for image in images) else _together(images),
        readings=readings,
    )


def _together(tensors: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([tensor for tensor in tensors if tensor is not None])
