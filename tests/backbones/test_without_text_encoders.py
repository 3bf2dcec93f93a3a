"""Pipelines that were loaded without text encoders to save memory: embeddings from another process are enough."""

import attrs
import pytest
from tiny_pipelines import build

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.backbones.stable_diffusion_xl import stable_diffusion_xl

ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
MAKERS = {"sd": stable_diffusion, "sdxl": stable_diffusion_xl}


def drawn(pipe, **given):
    sizes = {"height": 32, "width": 32, "steps": 2, "baseline": False}
    return tta.align("a red circle", backbone=pipe, method="date", reward="brightness", **sizes, **given)


@pytest.fixture(params=MAKERS)
def with_and_without(request, tmp_path):
    """The result of a pipeline with its encoders, its two embeddings, and the pipeline without them."""
    pipe = build(request.param, tmp_path)
    backbone = MAKERS[request.param](pipe)
    given = {"text": backbone.encode(["a red circle"], 32, 32), "null": backbone.encode_null([None], 32, 32)}
    expected = drawn(pipe)
    for part in ENCODERS:
        if part in pipe.components:
            setattr(pipe, part, None)
    return expected, given, pipe


def test_precomputed_embeddings_give_the_same_images(with_and_without):
    expected, given, pipe = with_and_without
    found = drawn(pipe, **given)
    assert (found.result.pixels - expected.result.pixels).abs().max() <= 1e-5


def test_memory_is_predicted_without_them_too(with_and_without):
    expected, given, pipe = with_and_without
    found = drawn(pipe, memory="auto", **given)
    assert (found.result.pixels - expected.result.pixels).abs().max() <= 1e-4
    assert "auto chose" in found.manifest["memory"][-1]


def test_a_prompt_alone_is_refused_and_the_message_says_what_to_give(with_and_without):
    _, given, pipe = with_and_without
    with pytest.raises(IncompatibleError, match="without its text encoders"):
        drawn(pipe)
    with pytest.raises(IncompatibleError, match="without its text encoders"):
        drawn(pipe, text=given["text"])


@pytest.mark.parametrize("with_and_without", ["sdxl"], indirect=True)
def test_embeddings_without_the_required_pooled_or_size_conditioning_are_refused(with_and_without):
    _, given, pipe = with_and_without
    bare = {name: attrs.evolve(one, extra={}) for name, one in given.items()}
    with pytest.raises(InputError, match="no extra\\['time_ids'\\]"):
        drawn(pipe, **bare)
