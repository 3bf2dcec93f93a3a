"""A backbone, a reward and noise that cost nothing: what a method asks of them can be counted without being computed."""

from collections.abc import Mapping, Sequence

import attrs
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from tta_core.protocols.backbone import Backbone, Defaults
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import Card, Reward, card_of
from tta_core.solving.problem import Problem
from tta_core.values.controls import Controls, Embedding
from tta_core.values.ledger import Ledger
from tta_core.values.noise import KeyedPermutations
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores, frozen

_SIDE = 8


@frozen
class DummyBackbone:
    """Says that it is the backbone, and computes next to nothing: outputs that depend on x and on the embedding, so that gradients flow."""

    backbone: Backbone
    networks: Mapping[str, nn.Module] = attrs.field(factory=dict, init=False, repr=False)
    device: torch.device = attrs.field(factory=lambda: torch.device("cpu"), init=False, repr=False)

    @property
    def has_null(self) -> bool:
        """The backbone's."""
        return self.backbone.has_null

    @property
    def defaults(self) -> Defaults:
        """The backbone's."""
        return self.backbone.defaults

    @property
    def sampler(self) -> object:
        """The backbone's."""
        return self.backbone.sampler

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """The backbone's channels, few pixels."""
        return self.backbone.latent_shape(height, width)[0], _SIDE, _SIDE

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """Two tokens and a pooled vector."""
        return Embedding(torch.zeros(len(prompts), 2, 4), torch.zeros(len(prompts), 4))

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The same, where the backbone has one."""
        return self.encode([""] * len(prompts), height, width) if self.has_null else None

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """x times 1, which depends on the embedding; a product, so that a checkpoint has something to recompute."""
        told = sum(leaf.flatten(1).sum(1) for leaf in embedding.leaves)
        return x * (1 + 0 * torch.as_tensor(told).view(-1, 1, 1, 1))

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Plain guidance."""
        return null + guidance * (text - null)

    def decode(self, x0: Latents) -> Images:
        """Three grey channels."""
        return 0.5 + 0 * x0.mean(1, keepdim=True).expand(-1, 3, -1, -1)


@frozen
class DummyReward:
    """Says that it is the reward, and scores everything so low that no method stops early for it."""

    reward: Reward

    @property
    def card(self) -> Card:
        """The reward's."""
        return card_of(self.reward)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """A low score, with a gradient of zero unless the reward declares that it has none."""
        scores = images.mean((1, 2, 3)) * 0 - 1e6
        return scores.detach() if card_of(self.reward).differentiable is False else scores


@frozen
class ZeroNoise:
    """Noises that are all zero."""

    samples: int
    shape: tuple[int, int, int]

    def __call__(self, row: int, child: int) -> Latents:
        """Zeros."""
        return torch.zeros(self.samples, *self.shape)

    def like(self, tensor: Tensor, *key: int) -> Tensor:
        """Zeros."""
        return torch.zeros_like(tensor)

    def permutations(self, count: int, length: int, *key: int) -> KeyedPermutations:
        """As many as are asked for, each made when it is read, as in a run."""
        return KeyedPermutations(tuple((sample, *key) for sample in range(self.samples)), count, length, torch.device("cpu"))

    def uniform(self, count: int, *key: int) -> Float64[Tensor, "count b"]:
        """Halves."""
        return torch.full((count, self.samples), 0.5, dtype=torch.float64)


def size_of(setup: Setup) -> tuple[int, int]:
    """Height and width of the setup's images, in pixels."""
    defaults = setup.backbone.defaults
    return setup.height or defaults.height, setup.width or defaults.width


def dummy_problem(setup: Setup, backbone: Backbone, reward: Reward, shape: tuple[int, int, int]) -> Problem:
    """The problem of a setup with all noises zero, on another backbone and reward."""
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
