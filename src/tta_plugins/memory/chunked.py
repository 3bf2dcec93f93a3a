"""Passes a batch through a network a few rows at a time, so that the transient memory is that of a few rows instead of all."""

from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import Mixed, Reward
from tta_core.protocols.wrappers import WrappedBackbone, WrappedMixture, WrappedReward
from tta_core.solving.scoring import checked
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores, evolve, frozen


@frozen
class Chunked:
    """The most rows of each call; None: no limit. Particles and batches then need only the transient memory of a few rows.

    Exact, with and without gradients. With gradients every chunk's graph is kept, so combine it with checkpointing.
    """

    denoiser: int | None = 1
    decoder: int | None = 1
    reward: int | None = 1
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if any(rows is not None and rows < 1 for rows in (self.denoiser, self.decoder, self.reward)):
            raise InputError(f"{self!r} cannot run: a call needs at least 1 row. Give 1 or more.")
        if self.denoiser is self.decoder is self.reward is None:
            raise InputError(f"{self!r} cannot run: it limits nothing. Give a number of rows to one of them.")

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose backbone and reward get a few rows at a time."""
        backbone, reward = setup.backbone, setup.reward
        wrapped = WrappedBackbone(
            backbone,
            predicting=_Predict(backbone, self.denoiser) if self.denoiser else None,
            decoding=_Decode(backbone, self.decoder) if self.decoder else None,
        )
        return evolve(setup, backbone=wrapped, reward=_scoring(reward, self.reward) if self.reward else reward)


@frozen
class VAESlicing:
    """Decodes `rows` images at a time, as diffusers' `enable_vae_slicing` does with one. Exact, with and without gradients."""

    rows: int = 1
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.rows < 1:
            raise InputError(f"{self!r} cannot run: a call needs at least 1 row. Give 1 or more.")

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose decoder gets a few rows at a time."""
        return Chunked(denoiser=None, decoder=self.rows, reward=None)(setup)


def _scoring(reward: Reward, size: int) -> Reward:
    """The reward, a few rows at a time; a mixture stays a mixture, so that its parts are still in the trace."""
    if isinstance(reward, Mixed):
        return WrappedMixture(reward, _ScoreParts(reward, size), reward.mixed)
    return WrappedReward(reward, _Score(reward, size))


@attrs.frozen(eq=False)
class _Predict:
    backbone: Backbone
    size: int

    def __call__(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        return _in_chunks(lambda rows: self.backbone.predict(x[rows], step, embedding[rows]), x.shape[0], self.size)


@attrs.frozen(eq=False)
class _Decode:
    backbone: Backbone
    size: int

    def __call__(self, x0: Latents) -> Images:
        return _in_chunks(lambda rows: self.backbone.decode(x0[rows]), x0.shape[0], self.size)


@attrs.frozen(eq=False)
class _Score:
    reward: Reward
    size: int

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        return _in_chunks(lambda rows: checked(self.reward, images[rows], prompts[rows]), images.shape[0], self.size)


@attrs.frozen(eq=False)
class _ScoreParts:
    mixture: Mixed
    size: int

    def __call__(self, images: Images, prompts: Sequence[str]) -> Mapping[str, Scores]:
        chunks = [self.mixture.parts(images[rows], prompts[rows]) for rows in _chunks(images.shape[0], self.size)]
        return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _in_chunks(call: Callable[[slice], Tensor], rows: int, size: int) -> Tensor:
    return torch.cat([call(chunk) for chunk in _chunks(rows, size)])


def _chunks(rows: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, rows, size)]
