"""Rewards of pixel statistics: known values, and no NaN in scores or gradients."""

import colorsys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tta_core.protocols.reward import card_of
from tta_core.solving.scoring import checked
from tta_plugins.rewards.jpeg import Compressibility, Incompressibility
from tta_plugins.rewards.pixels import Brightness, Colourfulness, Contrast, Darkness, Sharpness

ALL = [Darkness(), Brightness(), Contrast(), Colourfulness(), Sharpness()]
EACH = pytest.mark.parametrize("reward", ALL, ids=repr)


def flat(*colour, size=(4, 5)):
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, *size).clone()


def halves(low, high, size=8):
    images = torch.full((1, 3, size, size), low)
    images[..., size // 2 :] = high
    return images


def value(reward, images):
    return reward(images, [""] * len(images)).tolist()


def test_known_values():
    assert value(Darkness(), flat(1.0, 1.0, 1.0)) == [-1]
    assert value(Brightness(), flat(0.0, 0.5, 1.0)) == [0.5]
    assert value(Contrast(), halves(0.0, 1.0)) == pytest.approx([0.5])
    assert value(Contrast(), flat(1.0, 0.0, 0.0)) == pytest.approx([0.0], abs=1e-6)
    assert value(Colourfulness(), flat(0.3, 0.3, 0.3)) == pytest.approx([0.0], abs=1e-4)
    assert value(Colourfulness(), flat(1.0, 0.0, 0.0)) == pytest.approx([0.3 * (255**2 + 127.5**2) ** 0.5])
    assert value(Sharpness(), flat(0.7, 0.7, 0.7)) == pytest.approx([0.0], abs=1e-9)
    assert value(Sharpness(), halves(0.0, 1.0)) == pytest.approx([2 / 8])  # the Laplacian is +-1 on two of eight columns


def test_a_rainbow_is_more_colourful_than_its_pastel_and_noise_sharper_than_a_gradient():
    rainbow = torch.tensor([colorsys.hsv_to_rgb(n / 36, 1, 1) for n in range(36)]).T.reshape(1, 3, 6, 6)
    assert value(Colourfulness(), rainbow) > value(Colourfulness(), 0.5 + rainbow / 4)
    ramp = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    assert value(Sharpness(), torch.rand(1, 3, 8, 8)) > value(Sharpness(), ramp)
    assert value(Contrast(), rainbow) > value(Contrast(), 0.5 + rainbow / 4)


@EACH
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    level=st.sampled_from([0.0, 1e-30, 0.3, 1.0]),
    noise=st.sampled_from([0.0, 1e-7, 1.0]),
)
def test_every_image_has_a_finite_score_and_gradient(reward, height, width, level, noise):
    images = (level + noise * (torch.rand(2, 3, height, width) - 0.5)).clamp(0, 1).requires_grad_()
    scores = checked(reward, images, ["", ""])
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(reward(images[:1], [""]), scores[:1])


@EACH
def test_the_gradient_is_the_slope(reward):
    images = torch.rand(1, 3, 3, 4, dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(reward(images, [""]).sum(), images)
    step = 1e-2 * torch.randn_like(images)
    rise = reward(images + step, [""]) - reward(images - step, [""])
    assert rise.item() == pytest.approx(2 * (gradient * step).sum().item(), rel=0.05, abs=2e-3 * reward(images, [""]).abs().item())


@EACH
def test_cards_describe_the_number(reward):
    card = card_of(reward)
    assert card.differentiable
    assert card.range
    assert card.range[0] < card.range[1]
    assert card.unit
    assert repr(reward).endswith("()")


def test_file_size_in_kilobytes_has_a_direction():
    noise, plain = torch.rand(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    images = torch.cat([noise, plain])
    size, minus = value(Incompressibility(), images), value(Compressibility(), images)
    assert size == [-kilobytes for kilobytes in minus]
    assert size[0] > 5 > 1 > size[1] > 0.3
    assert value(Incompressibility(quality=30), noise) < value(Incompressibility(), noise)
    assert not card_of(Compressibility()).differentiable
    assert repr(Compressibility()) == "Compressibility(quality=95)"
