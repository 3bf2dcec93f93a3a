"""The renderer and the oracle: the oracle reads exactly what the renderer draws."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tta_plugins.shapes import connected_regions, grammar, oracle, render, scenes


def test_the_oracle_is_right_on_every_render():
    captions, drawn = scenes.draw_pairs(random.Random(0), 200)
    images = render.render(drawn)
    assert images.shape == (200, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1
    assert oracle.strict(images, captions).eq(1).all()
    assert oracle.soft(images, captions).eq(1).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(grammar.every_caption()), st.sampled_from(["colour", "shape", "relation", "background"]))
def test_the_oracle_refuses_an_image_with_one_thing_wrong(caption, what):
    rng = random.Random(str(caption))
    other = grammar.change_one_word(rng, caption, what)
    if other is not None:
        image = render.render([scenes.arrange(rng, other)])
        assert oracle.strict(image, [caption]) == 0
        assert oracle.soft(image, [caption]) < 1


def test_the_oracle_refuses_an_extra_thing_and_an_unknown_region():
    caption = grammar.parse("a red circle")
    crowded = render.render([scenes.arrange(random.Random(0), grammar.parse("a red circle above a blue square"))])
    assert oracle.strict(crowded, [caption]) == 0
    smeared = render.render([scenes.arrange(random.Random(0), caption)])
    smeared[:, :, 5:9] = torch.tensor([0.0, 1.0, 1.0])[None, :, None, None]
    assert oracle.read(smeared[0]).unknown > 0
    assert oracle.strict(smeared, [caption]) == 0


@pytest.mark.parametrize("size", [32, 128])
def test_a_scene_can_be_rendered_at_any_size(size):
    _, drawn = scenes.draw_pairs(random.Random(3), 20)
    fine = render.render(drawn, 256)
    expected = torch.nn.functional.avg_pool2d(fine, 256 // size)
    assert (render.render(drawn, size) - expected).abs().mean() < 0.01


def test_things_are_inside_the_image_and_do_not_overlap():
    _, drawn = scenes.draw_pairs(random.Random(4), 300)
    for scene in drawn:
        for placed in scene.objects:
            reach = scenes.REACH * placed.radius
            assert min(placed.x, placed.y) >= reach
            assert max(placed.x, placed.y) <= render.UNITS - reach
        if len(scene.objects) == 2:
            first, second = scene.objects
            apart = max(abs(first.x - second.x), abs(first.y - second.y))
            assert apart >= scenes.REACH * (first.radius + second.radius) + scenes.GAP - 1e-6


def test_regions_are_joined_around_corners_and_not_across_them():
    mask = torch.tensor([[1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    first, second = connected_regions.connected_regions(mask)
    assert first.sum() == 7
    assert second.sum() == 1
    assert torch.equal(first | second, mask)
    assert not connected_regions.interior(mask).any()
