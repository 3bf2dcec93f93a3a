"""A cheaper decoder for the look-aheads inside an optimisation; candidates and results are always decoded in full."""

from collections.abc import Mapping

import attrs
from torch import nn
from torch.nn.functional import interpolate

from tta_core.errors import InputError
from tta_core.protocols.memory import Decoder, Setup
from tta_core.running.frozen_networks import frozen_networks, on_device
from tta_core.values.typing import Images, Latents, evolve, frozen

_SCALE = 0.375


@frozen
class LookAhead:
    """Decode look-aheads from smaller latents: at 3/8 the decoder costs a seventh.

    Attributes:
        scale: side of the smaller latents; 1 changes nothing.
        autoencoder: decode full latents by a tiny autoencoder of the same latent space instead (TAESD: `AutoencoderTiny`); the scale
            then applies to nothing and must be left alone.

    The latents are resized bicubically with antialiasing, decoded, and the image is resized back, so that a reward sees the size that
    it will judge. Approximate: it changes which gradient is followed, never what is chosen or reported.
    """

    scale: float = _SCALE
    autoencoder: nn.Module | None = attrs.field(default=None, repr=lambda network: network and f"<{type(network).__name__}>")
    tolerance: float = attrs.field(default=0.5, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise InputError(f"{self!r} cannot run: the scale is the share of the latents' side that is decoded, so in (0, 1].")
        if self.autoencoder is not None and self.scale != _SCALE:
            raise InputError(f"{self!r} cannot run: an autoencoder decodes full latents, so the scale would do nothing. Leave it out.")

    def __call__(self, setup: Setup) -> Setup:
        """The setup with this look-ahead decoder."""
        if self.autoencoder is None:
            return evolve(setup, look_ahead=Reduced(setup.backbone.decode, self.scale))
        setup.undo.enter_context(frozen_networks([self.autoencoder]))
        setup.undo.enter_context(on_device([self.autoencoder], setup.backbone.device))
        return evolve(setup, look_ahead=Tiny(self.autoencoder))


@frozen
class Reduced:
    """Decodes at a share of the size, and enlarges the image."""

    decode: Decoder = attrs.field(repr=False)
    scale: float

    def __call__(self, x0: Latents, /) -> Images:
        """The image at its full size, decoded from smaller latents."""
        height, width = x0.shape[2:]
        small = (max(1, round(height * self.scale)), max(1, round(width * self.scale)))
        image = self.decode(interpolate(x0, small, mode="bicubic", antialias=True))
        whole = (image.shape[2] * height // small[0], image.shape[3] * width // small[1])
        return interpolate(image, whole, mode="bicubic", antialias=True)


@frozen
class Tiny:
    """Decodes by a tiny autoencoder, whose `decode` gives pixels in [-1, 1] in a one-element tuple, as diffusers' `AutoencoderTiny`."""

    autoencoder: nn.Module = attrs.field(repr=False)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The autoencoder."""
        return {"autoencoder": self.autoencoder}

    def __call__(self, x0: Latents, /) -> Images:
        """The image, 0 to 1."""
        dtype = next(self.autoencoder.parameters()).dtype
        return self.autoencoder.decode(x0.to(dtype), return_dict=False)[0].float() / 2 + 0.5  # type: ignore[operator]
