"""Refuses pipelines whose denoiser takes more than x, the time and the text; only their own call computes the other inputs."""

from typing import Any

from tta_core.errors import IncompatibleError
from tta_plugins.backbones.autoencoder import channels_of
from tta_plugins.backbones.denoiser import check_repeatable
from tta_plugins.backbones.family import Family, Pipeline
from tta_plugins.backbones.modules import Modules, inside

_PARTS = {
    "controlnet": ("a ControlNet", "its denoiser also takes the ControlNet's features of an image"),
    "adapter": ("a T2I-Adapter", "its denoiser also takes the adapter's features of an image"),
    "mask_processor": ("a mask", "it changes only the part of the image inside the mask"),
}


def check(pipeline: Pipeline, family: Family, modules: Modules) -> None:
    """Raises `IncompatibleError` for a pipeline that needs inputs which the loop of `align` does not compute; `modules` are its
    denoiser's."""
    denoiser: Any = inside(modules.network)
    check_repeatable(modules)
    channels, expected = denoiser.config.in_channels, channels_of(pipeline.vae) * family.traits.packing
    for part, (what, why) in _PARTS.items():
        if getattr(pipeline, part, None) is not None:
            raise _refusal(pipeline, what, why)
    if getattr(denoiser, "encoder_hid_proj", None) is not None and denoiser.config.get("encoder_hid_dim_type") != "text_proj":
        raise _refusal(pipeline, "an IP-Adapter", "its denoiser also takes an image's embedding, until pipeline.unload_ip_adapter()")
    if channels != expected:
        raise _refusal(pipeline, f"{channels} input channels", f"it also takes an image or a mask besides {expected} channels of latents")


def _refusal(pipeline: Pipeline, what: str, why: str) -> IncompatibleError:
    return IncompatibleError(
        f"Cannot use {type(pipeline).__name__} with {what} in our own loop. This is because {why}. Use tta_core.steering_hook, which "
        "steers inside the pipeline's own call; or load a plain text-to-image pipeline."
    )
