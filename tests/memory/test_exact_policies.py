"""Exact policies give the same gradients and the same result, up to the order of sums."""

from functools import partial

import pytest
import torch

from tta_core.values.schedules import Every
from tta_plugins.memory.channels_last import ChannelsLast
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.chunked import Chunked, VAESlicing
from tta_plugins.memory.frozen_convolutions import FrozenConvolutions
from tta_plugins.memory.segments import Segments
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO

EXACT = [
    (Checkpointing(),),
    (FrozenConvolutions(),),
    (Chunked(),),
    (VAESlicing(),),
    (ChannelsLast(),),
    (FrozenConvolutions(), Checkpointing(), Chunked()),
    (Checkpointing(("decoder",)), FrozenConvolutions(("denoiser",))),
]


@pytest.mark.parametrize("policies", EXACT, ids=lambda policies: "+".join(type(policy).__name__ for policy in policies))
def test_gradients_and_results_are_the_same(solve, policies):
    plain, under = solve(), solve(*policies)
    for expected, seen in zip(plain, under, strict=True):
        torch.testing.assert_close(seen.x0, expected.x0, rtol=1e-3, atol=2e-3)
        for mine, theirs in zip(seen.gradient, expected.gradient, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


@pytest.mark.parametrize("every", [1, 2, "sqrt", "all"])
def test_a_chain_in_segments_has_the_same_gradient(solve, every):
    method = DNO(1, shuffles=2)
    (plain, *_), (under, *_) = solve(method=method), solve(Segments(every), method=method)
    torch.testing.assert_close(under.gradient[0], plain.gradient[0], rtol=1e-4, atol=1e-5)


def test_convolutions_that_pad_by_name_are_left_as_they_are(solve, reward):
    reward.networks["vision"].blocks[0][0].padding = "same"
    method = DATE(rho=0.5, updates=Every(1))
    for expected, seen in zip(solve(method=method), solve(FrozenConvolutions(("reward",)), method=method), strict=True):
        torch.testing.assert_close(seen.x0, expected.x0, rtol=1e-3, atol=1e-3)


def test_a_frozen_convolution_still_has_a_gradient_for_its_weights():
    from contextlib import ExitStack

    from tta_plugins.memory.frozen_convolutions import _forward
    from tta_plugins.memory.patching import replace

    layer, images = torch.nn.Conv2d(2, 3, 3, stride=2, padding=1), torch.randn(2, 2, 8, 8)
    expected = torch.autograd.grad(layer(images).square().sum(), layer.weight)[0]
    with ExitStack() as undo:
        replace(undo, layer, "forward", lambda seen: _forward(layer, seen))
        seen = torch.autograd.grad(layer(images).square().sum(), layer.weight)[0]
    assert torch.equal(seen, expected)


class Counting(torch.nn.Module):
    """A block of a decoder that reads and increments an index in lists that it is given, as the decoders of causal video models do."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, x, cache, place=None):
        found = cache[place[0]]
        cache[place[0]] = x
        place[0] += 1
        return self.layer(x).tanh() + (0 if found is None else found.detach())


def test_a_recomputed_block_gets_its_lists_as_they_were_at_first():
    from tta_plugins.memory.checkpointing import _recomputed

    pieces, x = [Counting(), Counting()], torch.randn(2, 3, requires_grad=True)

    def gradient(*calls):
        cache, place, value = [None, torch.ones(2, 3)], [0], x
        for call in calls:
            value = call(value, cache, place=place)
        assert place == [2]
        return torch.autograd.grad(value.sum(), x)[0]

    assert torch.equal(gradient(*pieces), gradient(*(partial(_recomputed, piece) for piece in pieces)))
