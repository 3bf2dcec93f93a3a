"""What the two families with a U-Net share: the size it was made for."""

from tta_plugins.backbones.family import Pipeline


def side(pipeline: Pipeline) -> int:
    """Pixels of the square that the U-Net was made for."""
    size = pipeline.unet.config.sample_size
    return int(size if isinstance(size, int) else size[0]) * int(pipeline.vae_scale_factor)
