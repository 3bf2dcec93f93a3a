"""A cheaper decoder for the look-aheads inside an optimisation; candidates and results are always decoded by the full decoder."""

import attrs
from torch import nn
from torch.nn.functional import interpolate

from tta_core.errors import InputError
from tta_core.protocols.memory import Decoder, Setup
from tta_core.running.frozen_networks import frozen_networks, on_device
from tta_core.values.typing import Images, Latents, evolve, frozen
from tta_plugins.memory.components import refusal
from tta_plugins.memory.tiny_autoencoder import Tiny, config_of, enlargement, read_tiny_autoencoder

_SCALE = 0.375


@frozen
class LookAhead:
    """Decode look-aheads from smaller latents: at 3/8 the decoder costs a seventh.

    Attributes:
        scale: side of the smaller latents as a share of the full side; 1 changes nothing.
        autoencoder: instead, decode full latents by a tiny autoencoder of the same latent space (TAESD: diffusers' `AutoencoderTiny`): the
            network itself, or its folder or hub id ("madebyollin/taesd" for Stable Diffusion 1 and 2). The scale then has no effect and
            must not be given.

    The latents are resized bicubically with antialiasing and decoded, and the image is resized back, so that the reward gets images of the
    full size. Approximate: it changes the gradient of the optimisation, but not which candidates are chosen or which scores are reported.
    """

    scale: float = _SCALE
    autoencoder: nn.Module | str | None = attrs.field(default=None, repr=lambda given: _named(given))
    tolerance: float = attrs.field(default=0.5, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise InputError(f"{self!r} cannot run: the scale is a share of the latents' side. Give a number above 0 and at most 1.")
        if self.autoencoder is not None and self.scale != _SCALE:
            raise InputError(f"{self!r} cannot run: an autoencoder decodes full latents, so the scale would have no effect. Leave it out.")

    def __call__(self, setup: Setup) -> Setup:
        """The setup with this look-ahead decoder."""
        if self.autoencoder is None:
            return evolve(setup, look_ahead=Reduced(setup.backbone.decode, self.scale))
        network = read_tiny_autoencoder(self.autoencoder) if isinstance(self.autoencoder, str) else self.autoencoder
        self._check(network, setup)
        setup.undo.enter_context(frozen_networks([network]))
        setup.undo.enter_context(on_device([network], setup.backbone.device))
        return evolve(setup, look_ahead=Tiny(network))

    def _check(self, network: nn.Module, setup: Setup) -> None:
        """Raises `IncompatibleError` if the autoencoder's configuration is of other latents: other channels, or another size."""
        defaults = setup.backbone.defaults
        channels, rows, _ = setup.backbone.latent_shape(defaults.height, defaults.width)
        for what, own, expected in (
            ("channels of latents", config_of(network).get("latent_channels"), channels),
            ("pixels along the side of a latent", enlargement(network), defaults.height // rows),
        ):
            if own is not None and own != expected:
                reason = f"the autoencoder has {own} {what}, and the backbone {expected}"
                raise refusal(self, setup, reason, "Give the tiny autoencoder of this model.")


@frozen
class Reduced:
    """Decodes at a share of the size, then enlarges the image."""

    decode: Decoder = attrs.field(repr=False)
    scale: float

    def __call__(self, x0: Latents, /) -> Images:
        """The image at its full size, decoded from smaller latents."""
        height, width = x0.shape[2:]
        small = (max(1, round(height * self.scale)), max(1, round(width * self.scale)))
        image = self.decode(interpolate(x0, small, mode="bicubic", antialias=True))
        whole = (image.shape[2] * height // small[0], image.shape[3] * width // small[1])
        return interpolate(image, whole, mode="bicubic", antialias=True)


def _named(autoencoder: nn.Module | str | None) -> str:
    return f"<{type(autoencoder).__name__}>" if isinstance(autoencoder, nn.Module) else repr(autoencoder)
