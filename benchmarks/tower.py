"""A reward for benchmarks: the mean of the embedding of a CLIP image tower."""

import attrs
from torch.nn.functional import interpolate

from tta_core.protocols.reward import Card


@attrs.frozen(eq=False)
class Tower:
    """Resizes images to the tower's own size and scores them; prompts are not read."""

    networks: dict
    card = Card(differentiable=True)

    def __call__(self, images, prompts):
        tower = self.networks["vision"]
        size = tower.config.image_size
        pixels = interpolate(images, (size, size), mode="bicubic", antialias=True).to(tower.dtype)
        return tower(pixel_values=pixels).image_embeds.float().mean(1)
