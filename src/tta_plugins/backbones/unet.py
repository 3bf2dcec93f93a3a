"""What the two families with a U-Net share: the size it was made for, and the U-Nets that need more than text."""

from tta_core.errors import IncompatibleError
from tta_plugins.backbones.family import Pipeline


def side(pipeline: Pipeline) -> int:
    """Pixels of the square that the U-Net was made for."""
    size = pipeline.unet.config.sample_size
    return int(size if isinstance(size, int) else size[0]) * int(pipeline.vae_scale_factor)


def check(pipeline: Pipeline) -> None:
    """Raises `IncompatibleError` for a U-Net that is told more than x, the time and the text."""
    config, who = pipeline.unet.config, type(pipeline).__name__
    if config.in_channels != pipeline.vae.config.latent_channels:
        raise IncompatibleError(
            f"Cannot use {who} with a U-Net of {config.in_channels} input channels. This is because it is also shown a picture or a mask "
            f"(inpainting, editing), and the latents have {pipeline.vae.config.latent_channels}. Load a text-to-image checkpoint."
        )
    if config.time_cond_proj_dim is not None:
        raise IncompatibleError(
            f"Cannot use {who} with a guidance-distilled U-Net (LCM). This is because it has guidance as an input and no unconditional "
            "branch. Load the model that it was distilled from."
        )
    if config.encoder_hid_dim_type == "ip_image_proj":
        raise IncompatibleError(
            f"Cannot use {who} with an IP-Adapter. This is because its U-Net is also shown a picture's embedding. "
            "Call pipeline.unload_ip_adapter() first."
        )
