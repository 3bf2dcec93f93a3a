"""The language of captions: text and captions are inverse, a changed word changes one word, and held-out captions are not in the training
set."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tta_plugins.shapes import grammar, scenes

captions = st.sampled_from(grammar.every_caption())


def test_there_are_6192_captions_of_22_words():
    every = grammar.every_caption()
    assert len(every) == len({str(caption) for caption in every}) == 6192
    assert {word for caption in every for word in str(caption).split()} == set(grammar.WORDS)
    assert len(grammar.WORDS) == 22


@given(captions)
def test_parse_inverts_str(caption):
    assert grammar.parse(str(caption)) == caption
    assert grammar.parse(f"  {str(caption).upper()} ") == caption


@pytest.mark.parametrize("text", ["", "a cat", "a red", "a red circle a blue square", "a red circle on a pink background"])
def test_other_text_is_refused_with_the_words_that_exist(text):
    with pytest.raises(ValueError, match="background, below"):
        grammar.parse(text)


def test_the_same_thing_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        grammar.parse("a red circle above a red circle")


@given(captions, st.sampled_from(["colour", "shape", "relation", "background"]), st.integers(0, 99))
def test_one_changed_word_is_one_changed_word(caption, what, seed):
    other = grammar.change_one_word(random.Random(seed), caption, what)
    if other is None:
        assert what in ("relation", "background")
        return
    old, new = (_units(text) for text in (caption, other))
    assert len(old) == len(new)
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1


def test_a_changed_relation_is_false_for_every_scene_of_the_true_one():
    rng = random.Random(0)
    for _ in range(200):
        caption = grammar.draw_caption(rng, 2)
        other = grammar.change_one_word(rng, caption, "relation")
        scene = scenes.arrange(rng, caption)
        assert scenes.holds(caption, scene)
        assert other is None or not scenes.holds(other, scene)


def test_training_never_uses_a_held_out_caption():
    rng = random.Random(0)
    held_out = sum(caption.held_out for caption in grammar.every_caption())
    assert 500 < held_out < 700
    assert not any(grammar.draw_caption(rng, 2).held_out for _ in range(500))


def _units(caption):
    words = str(caption).replace("left of", "left").replace("right of", "right").split()
    return ["a" if word == "an" else word for word in words]
