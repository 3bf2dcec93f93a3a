"""Captioned scenes: a caption, and a random arrangement that satisfies it.

A single thing is large (radius 11 to 15 of 64 units). Two things are smaller (9 to 11.5), with a gap along the axis of their
relation; they are farther apart along it than across it.
"""

import random

from tta_plugins.shapes.grammar import BACKGROUNDS, Caption, draw_caption
from tta_plugins.shapes.render import UNITS, Placed, Scene

MARGIN, GAP = 1.0, 3.0
ALONE, PAIRED = (11.0, 15.0), (9.0, 11.5)
REACH = 1.22  # half a triangle's base, in radii: the farthest any shape reaches along an axis


def arrange(rng: random.Random, caption: Caption) -> Scene:
    """A random scene that satisfies the caption."""
    background = caption.background or rng.choice(BACKGROUNDS)
    if caption.relation is None:
        radius = rng.uniform(*ALONE)
        x, y = (rng.uniform(_low(radius), UNITS - _low(radius)) for _ in range(2))
        return Scene((Placed(caption.things[0], x, y, radius),), background)
    relation = caption.relation
    if relation == "and":
        relation = rng.choice(("left of", "right of", "above", "below"))
    radii = [rng.uniform(*PAIRED) for _ in range(2)]
    along, across = _apart(rng, *radii)
    if relation in ("right of", "below"):  # the first thing is the farther one along the axis
        along = [UNITS - value for value in along]
    places = list(zip(along, across, strict=True))
    if relation in ("above", "below"):
        places = [(x, y) for y, x in places]
    objects = (Placed(thing, x, y, radius) for thing, (x, y), radius in zip(caption.things, places, radii, strict=True))
    return Scene(tuple(objects), background)


def describe(scene: Scene) -> Caption:
    """The most specific caption of the scene. Its relation is along the axis on which the things are farther apart."""
    things = tuple(placed.thing for placed in scene.objects)
    return Caption(things, _relation(*scene.objects) if len(things) == 2 else None, scene.background)


def holds(caption: Caption, scene: Scene) -> bool:
    """Whether the scene has exactly the caption's things, with the right relation and background."""
    if caption.background not in (None, scene.background):
        return False
    if sorted(map(str, caption.things)) != sorted(str(placed.thing) for placed in scene.objects):
        return False
    if caption.relation in (None, "and"):
        return True
    first, second = scene.objects
    return caption.relation == (_relation(first, second) if first.thing == caption.things[0] else _relation(second, first))


def draw_pairs(rng: random.Random, count: int) -> tuple[list[Caption], list[Scene]]:
    """`count` random training pairs: 40 % with one thing, 60 % with two."""
    captions = [draw_caption(rng, 1 if rng.random() < 0.4 else 2) for _ in range(count)]
    return captions, [arrange(rng, caption) for caption in captions]


def _relation(first: Placed, second: Placed) -> str:
    dx, dy = second.x - first.x, second.y - first.y
    if abs(dx) > abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def _low(radius: float) -> float:
    return MARGIN + REACH * radius


def _apart(rng: random.Random, first: float, second: float) -> tuple[list[float], list[float]]:
    """Random positions along the axis (the first nearer to 0) and across it."""
    low, high = _low(first), UNITS - _low(second)
    slack = high - low - REACH * (first + second) - GAP
    near, far = sorted((rng.random(), rng.random()))
    along = [low + near * slack, high - (1 - far) * slack]
    while True:
        across = [rng.uniform(_low(radius), UNITS - _low(radius)) for radius in (first, second)]
        if abs(across[1] - across[0]) <= 0.6 * (along[1] - along[0]):
            return along, across
