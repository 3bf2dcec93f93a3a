"""A tiny autoencoder as the decoder of look-aheads: diffusers' `AutoencoderTiny`, of which TAESD is one."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import attrs
from torch import nn

from tta_core.errors import LoadError
from tta_core.values.typing import Images, Latents, frozen


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


def read_tiny_autoencoder(source: str) -> nn.Module:
    """The autoencoder of a folder or a hub id ("owner/name", or "owner/name@revision"), on the CPU in float32.

    Raises:
        LoadError: nothing there, another class of network, or weights that are not its own.
    """
    from diffusers import AutoencoderTiny

    name, _, revision = (source, "", "") if Path(source).is_dir() else source.partition("@")
    try:
        written = AutoencoderTiny.load_config(name, revision=revision or None).get("_class_name")
        options = {"revision": revision or None, "use_safetensors": True, "output_loading_info": True}
        loaded, told = AutoencoderTiny.from_pretrained(name, **options)
    except Exception as error:
        raise LoadError(
            f"{source!r} could not be loaded as a tiny autoencoder: {type(error).__name__}: {error}. Give a folder or hub id (owner/name) "
            "that diffusers' AutoencoderTiny reads, with its weights as safetensors."
        ) from error
    strange = [*told["missing_keys"], *told["unexpected_keys"]]
    if written != "AutoencoderTiny" or strange:
        what = f"it is an {written}" if written != "AutoencoderTiny" else f"its weights are not those of its configuration ({strange[0]})"
        raise LoadError(f"{source!r} is no tiny autoencoder: {what}. Give one, such as TAESD for Stable Diffusion.")
    return cast(nn.Module, loaded.eval())
