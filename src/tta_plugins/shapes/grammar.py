"""The captions of the embedded model: what a caption can ask for, and which captions exist.

A caption names one or two coloured shapes, perhaps how they stand to each other, perhaps the background:
`a red circle left of a blue square on a white background`. There are 6,192 captions of 22 words; about one two-object
caption in ten is held out, so that "an unseen caption" means something.
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
    """One coloured shape, as words name it."""

    colour: str = field(validator=validators.in_(COLOURS))
    shape: str = field(validator=validators.in_(SHAPES))

    def __str__(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape}"


@frozen
class Caption:
    """What is asked for; `str(caption)` is the text a model reads, `parse` its inverse.

    `relation` is None exactly when there is one thing; `background` is None where the caption leaves it open.
    """

    things: tuple[Thing, ...] = field(validator=validators.and_(validators.min_len(1), validators.max_len(2)))
    relation: str | None = field(default=None, validator=validators.optional(validators.in_(RELATIONS)))
    background: str | None = field(default=None, validator=validators.optional(validators.in_(BACKGROUNDS)))

    def __attrs_post_init__(self) -> None:
        if (self.relation is None) != (len(self.things) == 1):
            raise ValueError(f"A caption of {len(self.things)} thing(s) cannot have the relation {self.relation!r}.")
        if len(set(self.things)) < len(self.things):
            raise ValueError(f"A caption cannot ask for {self.things[0]} twice: the two could not be told apart.")

    def __str__(self) -> str:
        text = f" {self.relation} ".join(str(thing) for thing in self.things)
        return text if self.background is None else f"{text} on a {self.background} background"

    @property
    def held_out(self) -> bool:
        """True for the tenth of the two-object captions that no training stage sees."""
        return len(self.things) == 2 and zlib.crc32(str(self).encode()) % 10 == 0


_THING = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_CAPTION = re.compile(rf"{_THING}(?: ({'|'.join(RELATIONS)}) {_THING})?(?: on an? ({'|'.join(BACKGROUNDS)}) background)?")


def parse(text: str) -> Caption:
    """The caption that `text` spells; ValueError where it is not a sentence of this language."""
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
    """A caption of the training distribution with that many things: the background named in 70 %, none held out."""
    while True:
        drawn = rng.sample([Thing(colour, shape) for colour in COLOURS for shape in SHAPES], things)
        relation = rng.choice(RELATIONS) if things == 2 else None
        caption = Caption(tuple(drawn), relation, rng.choice(BACKGROUNDS) if rng.random() < 0.7 else None)
        if not caption.held_out:
            return caption


def change_one_word(rng: random.Random, caption: Caption, what: str) -> Caption | None:
    """A caption that differs in one word of the kind `what` (colour, shape, relation, background); None if it has none.

    A changed relation is its opposite or one of the other axis, never "and", which is true of every arrangement.
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
