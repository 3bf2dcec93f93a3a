"""The captions of the embedded model.

A caption names one or two coloured shapes, the relation of two, and optionally the background: `a red circle left of a blue
square on a white background`. There are 6,192 captions of 22 words. About one two-object caption in ten is held out of training,
to measure unseen captions.
"""

import itertools
import random
import re
import zlib

from attrs import field, frozen, validators

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle")
BACKGROUNDS = ("white", "black", "grey")
RELATIONS = ("left of", "right of", "above", "below", "and")
WORDS = tuple(sorted({"a", "an", "on", "background", *COLOURS, *SHAPES, *BACKGROUNDS, *" ".join(RELATIONS).split()}))


@frozen
class Thing:
    """One coloured shape, by its words."""

    colour: str = field(validator=validators.in_(COLOURS))
    shape: str = field(validator=validators.in_(SHAPES))

    def __str__(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape}"


@frozen
class Caption:
    """The meaning of a caption. `str(caption)` is the text that a model reads, and `parse` is its inverse.

    `relation` is None exactly if there is one thing. `background` is None if the caption names none.
    """

    things: tuple[Thing, ...] = field(validator=validators.and_(validators.min_len(1), validators.max_len(2)))
    relation: str | None = field(default=None, validator=validators.optional(validators.in_(RELATIONS)))
    background: str | None = field(default=None, validator=validators.optional(validators.in_(BACKGROUNDS)))

    def __attrs_post_init__(self) -> None:
        if (self.relation is None) != (len(self.things) == 1):
            raise ValueError(
                f"A caption of {len(self.things)} thing(s) cannot have the relation {self.relation!r}: only two things have one."
            )
        if len(set(self.things)) < len(self.things):
            raise ValueError(f"A caption cannot name {self.things[0]} twice, since the two could not be distinguished. Name two things.")

    def __str__(self) -> str:
        text = f" {self.relation} ".join(str(thing) for thing in self.things)
        return text if self.background is None else f"{text} on a {self.background} background"

    @property
    def held_out(self) -> bool:
        """Whether it is one of the tenth of the two-object captions that are not trained on."""
        return len(self.things) == 2 and zlib.crc32(str(self).encode()) % 10 == 0


_THING = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_CAPTION = re.compile(rf"{_THING}(?: ({'|'.join(RELATIONS)}) {_THING})?(?: on an? ({'|'.join(BACKGROUNDS)}) background)?")


def parse(text: str) -> Caption:
    """The caption that `text` states. Raises `ValueError` if it is not a sentence of this language."""
    match = _CAPTION.fullmatch(" ".join(text.lower().split()))
    if match is None:
        raise ValueError(
            f"{text!r} is not a caption of the shapes language. A caption reads like 'a red circle left of a blue "
            f"square on a white background', with the words {', '.join(WORDS)}."
        )
    colour, shape, relation, other_colour, other_shape, background = match.groups()
    things = (Thing(colour, shape),) if relation is None else (Thing(colour, shape), Thing(other_colour, other_shape))
    return Caption(things, relation, background)


def every_caption() -> list[Caption]:
    """All captions, in a fixed order: 72 with one thing, then 6,120 with two."""
    things = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]
    grounds = (None, *BACKGROUNDS)
    one = [Caption((thing,), None, ground) for thing in things for ground in grounds]
    pairs = itertools.permutations(things, 2)
    return one + [Caption(pair, relation, ground) for pair in pairs for relation in RELATIONS for ground in grounds]


def draw_caption(rng: random.Random, things: int) -> Caption:
    """A random caption of the training distribution with this many things; 70 % name the background, and none is held out."""
    while True:
        sampled = rng.sample([Thing(colour, shape) for colour in COLOURS for shape in SHAPES], things)
        relation = rng.choice(RELATIONS) if things == 2 else None
        caption = Caption(tuple(sampled), relation, rng.choice(BACKGROUNDS) if rng.random() < 0.7 else None)
        if not caption.held_out:
            return caption


def change_one_word(rng: random.Random, caption: Caption, what: str) -> Caption | None:
    """A caption that differs in one word of the kind `what`: colour, shape, relation or background. None if it has no such word.

    A relation changes to its opposite or to one along the other axis, never to "and", which every arrangement satisfies.
    """
    if what == "background":
        others = [ground for ground in BACKGROUNDS if ground != caption.background]
        return None if caption.background is None else Caption(caption.things, caption.relation, rng.choice(others))
    if what == "relation":
        if caption.relation in (None, "and"):
            return None
        others = [relation for relation in RELATIONS[:4] if relation != caption.relation]
        return Caption(caption.things, rng.choice(others), caption.background)
    where = rng.randrange(len(caption.things))
    old = caption.things[where]
    if what == "colour":
        options = [Thing(colour, old.shape) for colour in COLOURS]
    else:
        options = [Thing(old.colour, shape) for shape in SHAPES]
    options = [thing for thing in options if thing not in caption.things]
    if not options:
        return None
    things = list(caption.things)
    things[where] = rng.choice(options)
    return Caption(tuple(things), caption.relation, caption.background)
