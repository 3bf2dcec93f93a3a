"""The oracle: a program without weights that reads an image from its pixels, and is correct on every rendered scene.

Pixels that differ from the background are grouped into connected regions. A region is a thing if one colour of the palette
fills it, and if one of the three outlines, with the region's position and area, covers it.
"""

import torch
from attrs import frozen
from torch import Tensor

from tta_plugins.shapes.connected_regions import connected_regions, interior
from tta_plugins.shapes.grammar import BACKGROUNDS, COLOURS, SHAPES, Caption, Thing
from tta_plugins.shapes.render import PALETTE, UNITS, Placed, Scene, coverage, grid
from tta_plugins.shapes.scenes import holds

DIFFERENT = 0.25  # distance in RGB from the background beyond which a pixel is foreground
SPECK = 12.0  # square units: smaller regions are ignored
FIT = 0.80  # intersection over union that an outline must reach
NEAR = 0.30  # distance in RGB within which a region has a palette colour
AREA = {"circle": 3.1416, "square": 4 * 0.89**2, "triangle": 2.5461}  # of radius 1


@frozen
class Reading:
    """The oracle's reading of an image: the things that it recognised, and the number of regions that it did not."""

    scene: Scene
    unknown: int

    def shows(self, caption: Caption) -> bool:
        """Whether the image has all of the caption's things and nothing else, with the right relation and background."""
        return self.unknown == 0 and holds(caption, self.scene)


def read(image: Tensor) -> Reading:
    """Read one image [3 h w] in [0, 1]."""
    pixels = image.detach().float().cpu()
    size = pixels.shape[-1]
    background = _background(pixels)
    away = (pixels - torch.tensor(PALETTE[background])[:, None, None]).square().sum(0).sqrt()
    speck = SPECK * (size / UNITS) ** 2
    regions = [_name(pixels, region, size) for region in connected_regions(away > DIFFERENT) if region.sum() >= speck]
    named = tuple(placed for placed in regions if placed is not None)
    return Reading(Scene(named, background), len(regions) - len(named))


def strict(images: Tensor, captions: list[Caption]) -> Tensor:
    """[b]: 1 if the image shows exactly its caption, else 0."""
    return torch.tensor([float(read(image).shows(caption)) for image, caption in zip(images, captions, strict=True)])


def soft(images: Tensor, captions: list[Caption]) -> Tensor:
    """[b]: the fraction in [0, 1] of the caption's facts that hold: each thing, the number of things, background, relation."""
    return torch.tensor([_share(read(image), caption) for image, caption in zip(images, captions, strict=True)])


def _share(reading: Reading, caption: Caption) -> float:
    found = [placed.thing for placed in reading.scene.objects]
    facts = [thing in found for thing in caption.things]
    facts.append(len(found) + reading.unknown == len(caption.things))
    if caption.background is not None:
        facts.append(reading.scene.background == caption.background)
    if caption.relation not in (None, "and"):
        facts.append(reading.unknown == 0 and holds(Caption(caption.things, caption.relation), reading.scene))
    return sum(facts) / len(facts)


def _background(pixels: Tensor) -> str:
    border = torch.cat([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], 1).median(1).values
    return min(BACKGROUNDS, key=lambda name: float((border - torch.tensor(PALETTE[name])).square().sum()))


def _name(pixels: Tensor, region: Tensor, size: int) -> Placed | None:
    inside = interior(region)
    core = inside if inside.any() else region
    colour = pixels[:, core].median(1).values
    distances = {name: float((colour - torch.tensor(PALETTE[name])).norm()) for name in COLOURS}
    nearest = min(distances, key=distances.__getitem__)
    if distances[nearest] > NEAR:
        return None
    across, down = grid(size)
    columns, rows = across[0][region.any(0)], down[:, 0][region.any(1)]
    x, y = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    area = region.sum() * (UNITS / size) ** 2
    fits = {}
    for shape in SHAPES:
        radius = (area / AREA[shape]).sqrt()
        outline = coverage(shape, x[None], y[None], radius[None], size)[0] > 0.5
        fits[shape] = float((outline & region).sum() / (outline | region).sum())
    best = max(fits, key=fits.__getitem__)
    if fits[best] < FIT:
        return None
    return Placed(Thing(nearest, best), float(x), float(y), float((area / AREA[best]).sqrt()))
