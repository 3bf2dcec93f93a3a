"""The mixture backbone with networks in it, for laws about how a run treats a user's networks."""

from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import nn

from tta_core.protocols.backbone import Defaults, SteersAttention
from tta_core.testing.mixture import GaussianMixture
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, frozen


def _mixing(channels: int) -> nn.Module:
    """Nearly the identity: mixes channels a little, with weights that are the same in every process."""
    mixing = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        mixing.weight.copy_((torch.eye(channels) + 0.05 * torch.arange(channels).float())[..., None, None])
    return nn.Sequential(mixing, nn.Dropout(0.5))


@frozen
class NetworkedMixture:
    """A `GaussianMixture` whose output and images pass through small networks, in those networks' own dtype.

    The networks are as a user may pass them: in training mode, with a dropout that must not act, and with parameters that require
    gradients.
    """

    mixture: GaussianMixture = attrs.field(factory=GaussianMixture)
    denoiser: nn.Module = attrs.field(factory=lambda: _mixing(4))
    decoder: nn.Module = attrs.field(factory=lambda: _mixing(3))

    @property
    def has_null(self) -> bool:
        """Same as the mixture's."""
        return self.mixture.has_null

    @property
    def steers_attention(self) -> bool:
        """Same as the mixture's; False if it does not declare it."""
        return isinstance(self.mixture, SteersAttention) and self.mixture.steers_attention

    @property
    def defaults(self) -> Defaults:
        """Same as the mixture's."""
        return self.mixture.defaults

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The two networks, by role."""
        return {"denoiser": self.denoiser, "decoder": self.decoder}

    @property
    def device(self) -> torch.device:
        """The denoiser's device."""
        return next(self.denoiser.parameters()).device

    @property
    def sampler(self) -> object:
        """Same as the mixture's."""
        return self.mixture.sampler

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Same as the mixture's."""
        return self.mixture.latent_shape(height, width)

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """Same as the mixture's."""
        return self.mixture.encode(prompts, height, width)

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """Same as the mixture's."""
        return self.mixture.encode_null(prompts, height, width)

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The mixture's output through the denoiser."""
        return _through(self.denoiser, self.mixture.predict(x, step, embedding))

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """Same as the mixture's."""
        return self.mixture.combine(text, null, guidance)

    def decode(self, x0: Latents) -> Images:
        """The mixture's images through the decoder."""
        return _through(self.decoder, self.mixture.decode(x0))


def _through(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return network(x.to(next(network.parameters()).dtype)).float()
