"""A whole run on stand-ins, in which the real networks are lit only where memory sees something new.

A call without gradients needs the same memory each time, so each kind (component, rows) is lit once. Graphs pile up, so every call with
gradients is lit from the start until the first snapshot that had any, and none after.
"""

from collections.abc import Sequence

import attrs
import torch

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Decoder
from tta_core.protocols.reward import Card, Reward, card_of
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores
from tta_plugins.cost.standin import Silent, StandIn

Size = tuple[int, int]
Lit = tuple[Backbone, Reward, Decoder | None]


@attrs.define
class Lamp:
    """What has been lit so far. `with_gradients`: the denoiser's calls with gradients."""

    seen: set[tuple[str, int]] = attrs.field(factory=set)
    with_gradients: int = 0
    spent: bool = False

    def lights(self, component: str, rows: int, differentiated: bool) -> bool:
        """Whether a call of so many rows is to be run for real."""
        if torch.is_grad_enabled() and differentiated:
            self.with_gradients += component == "denoiser"
            return not self.spent
        new = (component, rows) not in self.seen
        self.seen.add((component, rows))
        return new

    def snapshot(self) -> None:
        """A snapshot was reached."""
        self.spent = self.spent or self.with_gradients > 0


def lit(backbone: Backbone, reward: Reward, decoder: Decoder | None, lamp: Lamp, size: Size) -> Lit:
    """The backbone, the reward and the look-ahead decoder (None stays None) under a lamp, for pictures of this size."""
    dark = Dark(backbone, size)
    looking = None if decoder is None else LitDecoder(decoder, dark, "look-ahead", lamp)
    decoding = LitDecoder(backbone.decode, dark, "decode", lamp)
    around = WrappedBackbone(backbone, predicting=LitDenoiser(backbone, dark, lamp), decoding=decoding)
    return around, LitReward(reward, Silent(reward), lamp), looking


@attrs.frozen(eq=False)
class Dark:
    """The backbone's stand-in at full size, at no cost in memory: its pictures are views of one number."""

    backbone: Backbone
    size: Size

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

    @property
    def card(self) -> Card:
        """The reward's."""
        return card_of(self.reward)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """The real scores or low ones."""
        return (self.reward if self.lamp.lights("reward", images.shape[0], images.requires_grad) else self.dark)(images, prompts)


@attrs.frozen(eq=False)
class LitDenoiser:
    """A denoiser under a lamp."""

    backbone: Backbone
    dark: Dark
    lamp: Lamp

    def __call__(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The real output, or x."""
        differentiated = any(tensor.requires_grad for tensor in (x, *embedding.leaves))
        lights = self.lamp.lights("denoiser", x.shape[0], differentiated)
        return (self.backbone if lights else self.dark).predict(x, step, embedding)
