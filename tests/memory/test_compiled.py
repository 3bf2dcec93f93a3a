"""torch.compile: every block is compiled, also by inductor, and the results are those of the run without it."""

import shutil

import pytest
import torch
from torch._dynamo import config

from tta_core.running.prepare import prepare
from tta_core.values.schedules import Every
from tta_plugins.memory.compiled import Compiled
from tta_plugins.methods.date import DATE
from tta_plugins.shapes.registered import shapes

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile itself requires it
METHOD = DATE(updates=Every(1))


def snapshots(backbone, *memory):
    with prepare("a red circle", backbone=backbone, method=METHOD, steps=1, memory=memory) as prepared:
        return list(METHOD.align(prepared.problem))


def assert_same(backend, *components):
    backbone = shapes()
    plain = snapshots(backbone)
    with config.patch(fail_on_cache_limit_hit=True):
        under = snapshots(backbone, Compiled(components or ("denoiser", "decoder", "reward"), backend=backend))
    for expected, seen in zip(plain, under, strict=True):
        torch.testing.assert_close(seen.x0, expected.x0, atol=1e-3, rtol=1e-3)
        for mine, theirs in zip(seen.gradient, expected.gradient, strict=True):
            # here a change of the noise by 1e-6 changes the gradient by 0.4 %, because the decoder is not smooth
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-2 * theirs.abs().max().item())


def test_a_compiled_reward_scores_the_same():
    before = config.cache_size_limit, config.accumulated_cache_size_limit
    assert_same("eager", "reward")
    assert (config.cache_size_limit, config.accumulated_cache_size_limit) == before


@pytest.mark.slow
def test_every_block_is_compiled_even_if_there_are_many_of_its_kind():
    assert_same("eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler, and there is no g++ here")
def test_inductor_gives_the_same():
    assert_same("inductor")
