"""A problem whose noises are zero: a method runs on it to count its evaluations and its memory."""

from collections.abc import Iterator

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import Reward
from tta_core.solving.problem import Problem
from tta_core.values.controls import Controls
from tta_core.values.ledger import Ledger
from tta_core.values.noise import KeyedPermutations
from tta_core.values.typing import Latents, frozen
from tta_plugins.cost.fake_mode import placeholder


@frozen
class ZeroNoise:
    """Noises in the shapes of `KeyedNoise` that are all zero, or without data in a `FakeMode`."""

    samples: int
    shape: tuple[int, int, int]

    def __call__(self, row: int, child: int) -> Latents:
        """Noises of one row, `(b, c, h, w)`."""
        return placeholder((self.samples, *self.shape), torch.float32)

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """Noises in the tensor's shape."""
        return placeholder(tensor.shape, tensor.dtype)

    def permutations(self, count: int, length: int, *key: int) -> KeyedPermutations:
        """As many permutations as a run has, each created when it is read."""
        return _Identities(tuple((sample, *key) for sample in range(self.samples)), count, length, torch.device("cpu"))

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """Numbers 0.5."""
        return torch.full((count, self.samples), 0.5, dtype=torch.float64)


@frozen
class _Identities(KeyedPermutations):
    """Identical permutations: random ones would take longer than everything else in a dummy run."""

    def __iter__(self) -> Iterator[Int[Tensor, "b length"]]:
        for _ in range(self.count):
            yield torch.arange(self.length, dtype=torch.int32).repeat(len(self.keys), 1)


def size_of(setup: Setup) -> tuple[int, int]:
    """Height and width of the setup's images, in pixels."""
    defaults = setup.backbone.defaults
    return setup.height or defaults.height, setup.width or defaults.width


def dummy_problem(setup: Setup, backbone: Backbone, reward: Reward, shape: tuple[int, int, int]) -> Problem:
    """The problem of a setup, with zero noise and the given backbone and reward, whose latents have this shape."""
    samples, size = len(setup.prompts), size_of(setup)
    noises = ZeroNoise(samples, shape)
    with torch.no_grad():
        text, null = backbone.encode(setup.prompts, *size), backbone.encode_null([None] * samples, *size)
    noise = torch.stack([noises(row, 0) for row in range(len(setup.scheduler.steps) + 1)])
    return Problem(
        backbone=backbone,
        scheduler=setup.scheduler,
        reward=reward,
        prompts=setup.prompts,
        controls=Controls(text, null, noise),
        noises=noises,
        guidance=setup.backbone.defaults.guidance if setup.guidance is None else setup.guidance,
        size=size,
        segment=setup.segment,
        ledger=Ledger(),
        tried=True,
    )
