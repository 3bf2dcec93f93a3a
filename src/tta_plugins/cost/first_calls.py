"""A whole run in which the real networks compute only where that needs memory of a new kind; elsewhere cheap ones do.

A call without gradients needs the same memory each time, so each kind (component, rows) is real once. Graphs add up until a backward
frees them, so every call with gradients is real from the start until two backwards have come to the first graph of theirs, or until the
first snapshot after any, and none after.
"""

from collections.abc import Sequence

import attrs
import torch
from torch.utils.hooks import RemovableHandle

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Decoder
from tta_core.protocols.reward import Card, Reward, card_of
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores
from tta_plugins.cost.dummies import DummyBackbone, DummyReward

Size = tuple[int, int]
Filtered = tuple[Backbone, Reward, Decoder | None]


@attrs.define
class CallFilter:
    """Which calls are real. `pending` counts the denoiser's real calls with gradients that no backward has come to yet."""

    seen: set[tuple[str, int]] = attrs.field(factory=set)
    pending: int = 0
    backwards: int = 0
    spent: bool = False

    def is_real(self, component: str, rows: int, differentiated: bool) -> bool:
        """Whether a call of so many rows is to be real."""
        if torch.is_grad_enabled() and differentiated:
            return not self.spent
        new = (component, rows) not in self.seen
        self.seen.add((component, rows))
        return new

    def snapshot(self) -> None:
        """A snapshot was reached."""
        self.spent = self.spent or self.pending + self.backwards > 0

    def watch(self, output: torch.Tensor) -> None:
        """Note when a backward comes to this output of a real call of the denoiser."""
        self.pending += 1
        handle: RemovableHandle = output.register_hook(lambda gradient: self._reached(handle))

    def _reached(self, handle: RemovableHandle) -> None:
        handle.remove()
        self.pending -= 1
        self.backwards += self.pending == 0
        self.spent = self.spent or self.backwards >= 2


def only_first_calls(backbone: Backbone, reward: Reward, decoder: Decoder | None, calls: CallFilter, size: Size) -> Filtered:
    """The backbone, the reward and the look-ahead decoder (None stays None) of which only those calls are real; `size` in pixels."""
    cheap = CheapNetworks(backbone, size)
    looking = None if decoder is None else FilteredDecoder(decoder, cheap, "look-ahead", calls)
    decoding = FilteredDecoder(backbone.decode, cheap, "decode", calls)
    around = WrappedBackbone(backbone, predicting=FilteredDenoiser(backbone, cheap, calls), decoding=decoding)
    return around, FilteredReward(reward, DummyReward(reward), calls), looking


@attrs.frozen(eq=False)
class CheapNetworks:
    """The backbone's dummy at full size, at no cost in memory: its pictures are views of one number."""

    backbone: Backbone
    size: Size

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """x, moved by nothing."""
        return DummyBackbone(self.backbone).predict(x, step, embedding)

    def decode(self, x0: Latents) -> Images:
        """Grey."""
        return x0.mean((1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 3, *self.size)


@attrs.frozen(eq=False)
class FilteredDecoder:
    """A decoder of which only some calls are real."""

    decoder: Decoder
    cheap: CheapNetworks
    component: str
    calls: CallFilter

    def __call__(self, x0: Latents, /) -> Images:
        """The real picture or a grey one."""
        return (self.decoder if self.calls.is_real(self.component, x0.shape[0], x0.requires_grad) else self.cheap.decode)(x0)


@attrs.frozen(eq=False)
class FilteredReward:
    """A reward of which only some calls are real."""

    reward: Reward
    cheap: DummyReward
    calls: CallFilter

    @property
    def card(self) -> Card:
        """The reward's."""
        return card_of(self.reward)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """The real scores or low ones."""
        return (self.reward if self.calls.is_real("reward", images.shape[0], images.requires_grad) else self.cheap)(images, prompts)


@attrs.frozen(eq=False)
class FilteredDenoiser:
    """A denoiser of which only some calls are real."""

    backbone: Backbone
    cheap: CheapNetworks
    calls: CallFilter

    def __call__(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The real output, or x."""
        differentiated = any(tensor.requires_grad for tensor in (x, *embedding.leaves))
        real = self.calls.is_real("denoiser", x.shape[0], differentiated)
        output = (self.backbone if real else self.cheap).predict(x, step, embedding)
        if real and output.requires_grad:
            self.calls.watch(output)
        return output
