"""A whole run on stand-ins, in which the real networks are lit only where memory sees something new.

A call without gradients needs the same memory each time, so each kind (component, rows) is lit once. Graphs pile up, so every call with
gradients is lit from the start until the first snapshot that had any, and none after.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from tta_core._typing import Images, Latents, Scores
from tta_core.backbone import Backbone, Defaults
from tta_core.controls import Embedding
from tta_core.memory import Decoder
from tta_core.reward import Reward
from tta_core.scheduler import Step
from tta_plugins.cost.standin import Silent, StandIn


@attrs.define
class Lamp:
    """What has been lit so far. `with_gradients`: calls with gradients seen since the last `snapshot`."""

    seen: set[tuple[str, int]] = attrs.field(factory=set)
    with_gradients: int = 0
    spent: bool = False

    def lights(self, component: str, rows: int, differentiated: bool) -> bool:
        """Whether a call of so many rows is to be run for real."""
        if torch.is_grad_enabled() and differentiated:
            self.with_gradients += 1
            return not self.spent
        new = (component, rows) not in self.seen
        self.seen.add((component, rows))
        return new

    def snapshot(self) -> None:
        """A snapshot was reached."""
        self.spent = self.spent or self.with_gradients > 0


def lit(backbone: Backbone, reward: Reward, decoder: Decoder | None, lamp: Lamp, size: tuple[int, int]) -> tuple[Any, Any, Any]:
    """The backbone, the reward and the look-ahead decoder (None stays None) under a lamp, for pictures of this size."""
    dark = Dark(backbone, size)
    seen = None if decoder is None else LitDecoder(decoder, dark, "look-ahead", lamp)
    return LitBackbone(backbone, dark, lamp), LitReward(reward, Silent(reward), lamp), seen


@attrs.frozen(eq=False)
class Dark:
    """The backbone's stand-in at full size, at no cost in memory: its pictures are views of one number."""

    backbone: Backbone
    size: tuple[int, int]

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """x, moved by nothing."""
        return StandIn(self.backbone).predict(x, step, embedding)

    def decode(self, x0: Latents) -> Images:
        """Grey."""
        return x0.mean((1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 3, *self.size)


@attrs.frozen(eq=False)
class LitDecoder:
    """A decoder under a lamp."""

    decoder: Decoder
    dark: Dark
    component: str
    lamp: Lamp

    def __call__(self, x0: Latents, /) -> Images:
        """The real picture or a grey one."""
        return (self.decoder if self.lamp.lights(self.component, x0.shape[0], x0.requires_grad) else self.dark.decode)(x0)


@attrs.frozen(eq=False)
class LitReward:
    """A reward under a lamp."""

    reward: Reward
    dark: Silent
    lamp: Lamp

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """The real scores or low ones."""
        return (self.reward if self.lamp.lights("reward", images.shape[0], images.requires_grad) else self.dark)(images, prompts)


@attrs.frozen(eq=False)
class LitBackbone:
    """A backbone whose `predict` and `decode` are under a lamp; the rest is its own."""

    backbone: Backbone
    dark: Dark
    lamp: Lamp

    @property
    def has_null(self) -> bool:
        """Its own."""
        return self.backbone.has_null

    @property
    def defaults(self) -> Defaults:
        """Its own."""
        return self.backbone.defaults

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its own."""
        return self.backbone.networks

    @property
    def device(self) -> torch.device:
        """Its own."""
        return self.backbone.device

    @property
    def sampler(self) -> object:
        """Its own."""
        return self.backbone.sampler

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Its own."""
        return self.backbone.latent_shape(height, width)

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """Its own."""
        return self.backbone.encode(prompts, height, width)

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """Its own."""
        return self.backbone.encode_null(prompts, height, width)

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The real output, or x."""
        differentiated = any(tensor.requires_grad for tensor in (x, *embedding.leaves))
        lights = self.lamp.lights("denoiser", x.shape[0], differentiated)
        return (self.backbone if lights else self.dark).predict(x, step, embedding)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Its own."""
        return self.backbone.combine(text, null, guidance)

    def decode(self, x0: Latents) -> Images:
        """The real picture, or a grey one."""
        return (self.backbone if self.lamp.lights("decode", x0.shape[0], x0.requires_grad) else self.dark).decode(x0)
