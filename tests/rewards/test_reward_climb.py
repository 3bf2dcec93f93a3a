"""Methods that follow a gradient raise the rewards by vision-language models, on the embedded model and under checkpointing."""

import pytest
from tiny_vlms import folder

import tta_core as tta
from tta_plugins.methods.date import DATE
from tta_plugins.rewards.vqascore import VQAScore


@pytest.fixture(scope="module")
def reward():
    return VQAScore(folder("qwen2_5_vl"), scale="log", dtype="float32")


def aligned(reward, memory=()):
    return tta.align("a red circle", method=DATE(rho=0.5), reward=reward, steps=4, memory=memory)


def test_date_climbs_and_checkpointing_changes_nothing(reward):
    plain = aligned(reward)
    assert plain.scores[0] > plain.baseline.scores[0]
    assert abs(aligned(reward, "checkpointing").scores[0] - plain.scores[0]) < 1e-3
