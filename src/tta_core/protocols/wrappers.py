"""Wrappers that replace some calls of a backbone or a reward and pass the others through."""

from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import nn

from tta_core.protocols.backbone import Backbone, Defaults, SteersAttention
from tta_core.protocols.reward import Card, Reward, card_of, networks_of
from tta_core.values.controls import Embedding
from tta_core.values.provenance import name_of
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores, frozen

Encode = Callable[[Sequence[str], int, int], Embedding]
EncodeNull = Callable[[Sequence[str | None], int, int], Embedding | None]
Predict = Callable[[Latents, Step, Embedding], Latents]
Combine = Callable[[Latents, Latents, float], Latents]
Decode = Callable[[Latents], Images]
Score = Callable[[Images, Sequence[str]], Scores]
ScoreParts = Callable[[Images, Sequence[str]], Mapping[str, Scores]]
Mix = Callable[[Mapping[str, Scores]], Scores]


@frozen
class WrappedBackbone:
    """A backbone with some calls replaced; None keeps the wrapped backbone's. `device` is the wrapped backbone's at construction, unless
    given."""

    backbone: Backbone
    encoding: Encode | None = attrs.field(default=None, repr=False)
    encoding_null: EncodeNull | None = attrs.field(default=None, repr=False)
    predicting: Predict | None = attrs.field(default=None, repr=False)
    combining: Combine | None = attrs.field(default=None, repr=False)
    decoding: Decode | None = attrs.field(default=None, repr=False)
    device: torch.device = attrs.field(default=attrs.Factory(lambda self: self.backbone.device, takes_self=True), repr=False)

    @property
    def __name__(self) -> str:
        """Same as the wrapped backbone's, so that messages use the name of the user's object."""
        return name_of(self.backbone)

    @property
    def __wrapped__(self) -> Backbone:
        """The wrapped backbone, whose package messages name."""
        return self.backbone

    @property
    def has_null(self) -> bool:
        """Same as the wrapped backbone's."""
        return self.backbone.has_null

    @property
    def steers_attention(self) -> bool:
        """Same as the wrapped backbone's; False if it does not declare it."""
        return isinstance(self.backbone, SteersAttention) and self.backbone.steers_attention

    @property
    def defaults(self) -> Defaults:
        """Same as the wrapped backbone's."""
        return self.backbone.defaults

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Same as the wrapped backbone's."""
        return self.backbone.networks

    @property
    def sampler(self) -> object:
        """Same as the wrapped backbone's."""
        return self.backbone.sampler

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Same as the wrapped backbone's."""
        return self.backbone.latent_shape(height, width)

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The text embedding of each prompt."""
        return (self.encoding or self.backbone.encode)(prompts, height, width)

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The null embedding of each sample."""
        return (self.encoding_null or self.backbone.encode_null)(prompts, height, width)

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The raw output of one guidance branch."""
        return (self.predicting or self.backbone.predict)(x, step, embedding)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """The guided output."""
        return (self.combining or self.backbone.combine)(text, null, guidance)

    def decode(self, x0: Latents) -> Images:
        """Clean latents to RGB."""
        return (self.decoding or self.backbone.decode)(x0)


@frozen
class _RewardWrapper:
    """The parts of a wrapped reward that stay: its name, its card and its networks."""

    reward: Reward

    @property
    def __name__(self) -> str:
        """Same as the wrapped reward's, so that messages use the name of the user's object."""
        return name_of(self.reward)

    @property
    def __wrapped__(self) -> Reward:
        """The wrapped reward, whose package messages name."""
        return self.reward

    @property
    def card(self) -> Card:
        """Same as the wrapped reward's."""
        return card_of(self.reward)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Same as the wrapped reward's."""
        return networks_of(self.reward)


@frozen
class WrappedReward(_RewardWrapper):
    """A reward with its call replaced; its card and its networks are the wrapped reward's."""

    scoring: Score = attrs.field(repr=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Scores of images."""
        return self.scoring(images, prompts)


@frozen
class WrappedMixture(_RewardWrapper):
    """A mixture with the scoring of its parts replaced; its card and its networks are the wrapped mixture's, and `mixed` should be too."""

    parts: ScoreParts = attrs.field(repr=False)
    mixed: Mix = attrs.field(repr=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Scores of images."""
        return self.mixed(self.parts(images, prompts))
