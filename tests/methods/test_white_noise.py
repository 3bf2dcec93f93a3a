"""The spectrum and the blockwise norms of noise before and after a projection onto white noise, and of DNO's noises with this
projection."""

import pytest
import torch
from torch.nn.functional import interpolate

from tta_core.solving.steering import AdamW
from tta_core.testing import vp_scheduler
from tta_core.testing.problems import problem_for
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.probability_regulariser import probability_regulariser
from tta_plugins.methods.white_noise import projected


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


WHITE = drawn(2, 3, 4, 32, 32)
SMOOTH = interpolate(drawn(6, 4, 8, 8), scale_factor=4, mode="bilinear").view(WHITE.shape)
SPOILED = {"shifted": WHITE + 0.3, "scaled": 0.7 * WHITE, "smooth": 0.7 * (WHITE + SMOOTH)}


def block_norms(noise):
    """The norms of blocks of 4 x 4 latent pixels, over the channels, in units of those of white noise."""
    blocks = noise.unfold(3, 4, 4).unfold(4, 4, 4).permute(0, 1, 3, 4, 2, 5, 6)
    return blocks.flatten(4).norm(dim=-1) / 8


def low_frequencies(noise):
    """The mean power of the lowest frequencies, in units of that of white noise."""
    power = torch.fft.fft2(noise, norm="ortho").abs().square()
    return power[..., :4, :4].mean((-3, -2, -1))


def improbability(noise):
    return probability_regulariser(noise.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED)
def test_the_spectrum_and_the_block_norms_become_those_of_white_noise(spoiled):
    made = projected(spoiled, WHITE, "white")
    assert (block_norms(spoiled) - 1).abs().max() > 0.2
    torch.testing.assert_close(block_norms(made), torch.ones(2, 3, 8, 8))
    assert (low_frequencies(spoiled) - 1).abs().max() > 0.4
    assert (low_frequencies(made) - 1).abs().max() < 0.5
    assert (improbability(made) < improbability(spoiled) / 2).all()


def test_white_noise_changes_little_and_keeps_its_probability():
    made = projected(WHITE, WHITE, "white")
    assert torch.cosine_similarity(made.flatten(), WHITE.flatten(), dim=0) > 0.98
    assert (improbability(made) < improbability(WHITE) + 0.5).all()


def test_sizes_that_blocks_of_four_do_not_divide_have_smaller_blocks():
    noise = 2 + drawn(1, 1, 4, 6, 12)
    made = projected(noise, noise, "white")
    blocks = made.unfold(3, 2, 2).unfold(4, 4, 4).permute(0, 1, 3, 4, 2, 5, 6).flatten(4)
    torch.testing.assert_close(blocks.norm(dim=-1), torch.full((1, 1, 3, 3), 32**0.5))


def test_steps_of_dno_stay_white():
    reached = {}
    for project in (None, "norm", "white"):
        method = DNO(6, regularisation=0.0, project=project, optimizer=AdamW(lr=0.5))
        problem = problem_for(method, scheduler=vp_scheduler(3, 1.0))
        *_, before, last = method.align(problem)
        reached[project] = improbability(before.controls.noise).mean()
        assert (last.scores > problem.look(problem.sample(problem.controls)).scores).all()
    assert reached["white"] < reached["norm"] < reached[None], reached
