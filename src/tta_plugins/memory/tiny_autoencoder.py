"""A tiny autoencoder as the decoder of look-aheads: diffusers' `AutoencoderTiny`, of which TAESD is one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs
from torch import nn

from tta_core.errors import LoadError
from tta_core.values.typing import Images, Latents, frozen


@frozen
class Tiny:
    """Decodes by a tiny autoencoder, whose `decode` returns pixels in [-1, 1] in a one-element tuple, as diffusers' `AutoencoderTiny`.

    Latents are scaled and shifted as its configuration says; TAESD's says not at all.
    """

    autoencoder: nn.Module = attrs.field(repr=False)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The autoencoder, by its role."""
        return {"autoencoder": self.autoencoder}

    def __call__(self, x0: Latents, /) -> Images:
        """The image, 0 to 1."""
        dtype, config = next(self.autoencoder.parameters()).dtype, config_of(self.autoencoder)
        z = x0 / config.get("scaling_factor", 1.0) + config.get("shift_factor", 0.0)
        return self.autoencoder.decode(z.to(dtype), return_dict=False)[0].float() / 2 + 0.5  # type: ignore[operator]


def config_of(autoencoder: nn.Module) -> Mapping[str, Any]:
    """The autoencoder's configuration; empty if it has none."""
    config = getattr(autoencoder, "config", None)
    return config if isinstance(config, Mapping) else {}


def enlargement(autoencoder: nn.Module) -> int | None:
    """Pixels along the side of one latent; None if the configuration does not say it."""
    config = config_of(autoencoder)
    widths, factor = config.get("decoder_block_out_channels"), config.get("upsampling_scaling_factor", 2)
    return None if widths is None else factor ** (len(widths) - 1)


def read_tiny_autoencoder(source: str) -> nn.Module:
    """The autoencoder of a folder or a hub id ("owner/name", or "owner/name@revision"), on the CPU in float32.

    Raises:
        LoadError: it does not exist, is another class of network, or its weights do not fit its configuration.
    """
    from diffusers import AutoencoderTiny

    name, _, revision = (source, "", "") if Path(source).is_dir() else source.partition("@")
    try:
        class_name = AutoencoderTiny.load_config(name, revision=revision or None).get("_class_name")
        options = {"revision": revision or None, "use_safetensors": True, "output_loading_info": True}
        loaded, info = AutoencoderTiny.from_pretrained(name, **options)
    except Exception as error:
        raise LoadError(
            f"{source!r} could not be loaded as a tiny autoencoder: {type(error).__name__}: {error}. Give a folder or hub id (owner/name) "
            "that diffusers' AutoencoderTiny reads, with its weights as safetensors."
        ) from error
    wrong = [*info["missing_keys"], *info["unexpected_keys"]]
    if class_name != "AutoencoderTiny" or wrong:
        what = f"it is an {class_name}" if class_name != "AutoencoderTiny" else f"its weights do not fit its configuration ({wrong[0]})"
        raise LoadError(f"{source!r} is not a tiny autoencoder: {what}. Give one, such as TAESD for Stable Diffusion.")
    return cast(nn.Module, loaded.eval())
