"""Mixtures are rewards: values, gradients, cards, networks, and errors that name the part."""

import pytest
import torch
from tiny_rewards import clip

from tta_core.errors import IncompatibleError, InputError, RewardError
from tta_core.protocols.reward import Card, Mixed, card_of, networks_of
from tta_core.solving.scoring import checked, scored
from tta_plugins.rewards.jpeg import Compressibility, Incompressibility
from tta_plugins.rewards.mixtures import Minimum, Product, WeightedSum
from tta_plugins.rewards.pixels import Brightness, Contrast, Darkness

IMAGES = torch.rand(3, 3, 8, 8)
PROMPTS = ["", "", ""]


def plain(images, prompts):
    return images.mean((1, 2, 3))


class Latent:
    card = Card(needs="latent")

    def __call__(self, images, prompts):
        return plain(images, prompts)


def test_values_agree_with_the_formulas():
    bright, contrast = Brightness()(IMAGES, PROMPTS), Contrast()(IMAGES, PROMPTS)
    pairs = {"bright": Brightness(), "contrast": (Contrast(), 3.0)}
    torch.testing.assert_close(WeightedSum(pairs)(IMAGES, PROMPTS), bright + 3 * contrast)
    torch.testing.assert_close(Minimum(pairs)(IMAGES, PROMPTS), torch.minimum(bright, 3 * contrast))
    torch.testing.assert_close(Product(pairs)(IMAGES, PROMPTS), bright * 3 * contrast)
    nested = WeightedSum({"both": (Minimum(pairs), 2), "dark": Darkness()})
    torch.testing.assert_close(nested(IMAGES, PROMPTS), 2 * torch.minimum(bright, 3 * contrast) - bright)


def test_parts_are_unweighted_and_by_name():
    parts = WeightedSum({"bright": (Brightness(), 5.0), "dark": Darkness()}).parts(IMAGES, PROMPTS)
    assert list(parts) == ["bright", "dark"]
    torch.testing.assert_close(parts["bright"], -parts["dark"])


@pytest.mark.parametrize("mixture", [WeightedSum, Minimum, Product])
def test_the_parts_come_from_the_same_evaluation_as_the_score(mixture):
    calls = []

    def counted(images, prompts):
        calls.append(1)
        return plain(images, prompts)

    reward = mixture({"bright": Brightness(), "counted": (counted, 0.5)})
    assert isinstance(reward, Mixed)
    scores, parts = scored(reward, IMAGES, PROMPTS)
    assert list(parts) == ["bright", "counted"]
    assert len(calls) == 1
    torch.testing.assert_close(scores, reward(IMAGES, PROMPTS))


@pytest.mark.parametrize("mixture", [WeightedSum, Minimum, Product])
def test_gradients_do_not_cross_images_even_if_a_part_is_zero(mixture):
    images = torch.cat([IMAGES[:1], torch.zeros(1, 3, 8, 8)]).requires_grad_()
    scores = mixture({"bright": Brightness(), "contrast": Contrast()})(images, ["", ""])
    (gradient,) = torch.autograd.grad(scores[0], images, retain_graph=True)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0
    assert torch.isfinite(torch.autograd.grad(scores.sum(), images)[0]).all()


def test_a_card_combines_the_cards_of_the_parts():
    card = card_of(WeightedSum({"bright": Brightness(), "dark": (Darkness(), -2.0)}))
    assert card.differentiable is True
    assert card.range == pytest.approx((0.2 + 0.4, 0.8 + 1.6))
    assert card.unit == "sum of 1 bright [mean level], -2 dark [mean level, negated]"
    assert card_of(WeightedSum({"jpeg": Compressibility(), "mine": plain})).differentiable is False
    assert card_of(WeightedSum({"bright": Brightness(), "mine": plain})).differentiable is None
    assert card_of(WeightedSum({"bright": Brightness(), "mine": plain})).range is None
    assert card_of(Minimum({"bright": Brightness(), "contrast": Contrast()})).range == (0.1, 0.35)
    assert card_of(Product({"bright": Brightness(), "dark": Darkness()})).range is None
    assert card_of(Product({"a": Brightness(), "b": Contrast()})).range == pytest.approx((0.02, 0.28))
    both = card_of(WeightedSum({"small": Compressibility(), "large": Incompressibility()}))
    assert both.citation.count("@inproceedings") == 1


def test_networks_are_shown_once_by_part():
    networks = networks_of(WeightedSum({"clip": clip(), "again": (clip(), 0.5), "bright": Brightness()}))
    assert list(networks) == ["clip.vision"]


def test_a_failing_part_is_named():
    def broken(images, prompts):
        raise ValueError("no such service")

    with pytest.raises(RewardError, match=r"broken.*no such service"):
        checked(WeightedSum({"bright": Brightness(), "broken": broken}), IMAGES, PROMPTS)


def test_invalid_mixtures_are_refused():
    with pytest.raises(RewardError, match=r"'dark' is -0.* for image 0"):
        Product({"bright": Brightness(), "dark": Darkness()})(IMAGES, PROMPTS)
    with pytest.raises(InputError, match="at least one reward"):
        WeightedSum({})
    with pytest.raises(InputError, match="finite weights"):
        WeightedSum({"bright": (Brightness(), float("nan"))})
    with pytest.raises(IncompatibleError, match="read different things"):
        WeightedSum({"bright": Brightness(), "latent": Latent()})
