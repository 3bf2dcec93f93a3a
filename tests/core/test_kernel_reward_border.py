"""The result of a reward is checked; the message names the reward and its package, the value and the remedy."""

import re

import pytest
import torch

from tta_core.errors import InputError, RewardError
from tta_core.protocols.reward import Card, card_of, networks_of
from tta_core.solving.scoring import checked

IMAGES, PROMPTS = torch.full((2, 3, 8, 8), 0.5), ["a red circle", "a blue square"]


def returning(value):
    def sharpness(images, prompts):
        return value(images) if callable(value) else value

    return sharpness


BAD = [
    (torch.zeros(2, 1), r"shape \(2, 1\) for 2 images.*shape \(2,\).*squeeze"),
    (torch.tensor(0.5), r"shape \(\) for 2 images.*do not average"),
    (torch.zeros(3), r"shape \(3,\) for 2 images"),
    (torch.zeros(2, dtype=torch.int64), r"torch.int64 scores.*scores.float\(\)"),
    (torch.tensor([0.5, float("nan")]), r"nan for image 1 \(prompt 'a blue square'; 1 of 2 scores"),
    (torch.tensor([float("inf"), 0.5]), r"inf for image 0 \(prompt 'a red circle'"),
    ([0.5, 0.5], "returned list, not a tensor"),
    (None, "returned NoneType, not a tensor"),
    (lambda images: 1 / 0, r"raised ZeroDivisionError: division by zero.*images \(2, 3, 8, 8\).*2 prompts"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_invalid_scores_are_refused(value, message):
    with pytest.raises(RewardError, match=message) as caught:
        checked(returning(value), IMAGES, PROMPTS)
    assert "sharpness (defined in test_kernel_reward_border)" in str(caught.value)


def test_the_package_is_named():
    assert torch.nn.Identity.__module__.startswith("torch")
    with pytest.raises(RewardError, match=r"Identity \(from torch \d"):
        checked(torch.nn.Identity(), IMAGES, PROMPTS)


def test_the_cause_is_kept():
    with pytest.raises(RewardError) as caught:
        checked(returning(lambda images: 1 / 0), IMAGES, PROMPTS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_exception_is_reported_with_its_line_in_the_rewards_file():
    def wrong(images, prompts):
        return images.view(3)

    line = wrong.__code__.co_firstlineno + 1
    with pytest.raises(RewardError, match=rf"it happened in {re.escape(__file__)}:{line}\."):
        checked(wrong, IMAGES, PROMPTS)


def test_a_rewards_own_reward_error_passes():
    def strict(images, prompts):
        raise RewardError("no face in the image")

    with pytest.raises(RewardError, match=r"^no face in the image$"):
        checked(strict, IMAGES, PROMPTS)


def test_ctrl_c_in_a_reward_is_not_wrapped():
    def slow(images, prompts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(slow, IMAGES, PROMPTS)


def test_half_precision_scores_come_out_as_float32():
    scores = checked(returning(torch.tensor([0.5, 0.25], dtype=torch.float16)), IMAGES, PROMPTS)
    assert scores.dtype == torch.float32
    assert scores.tolist() == [0.5, 0.25]


def test_cards_and_networks_are_optional():
    module = torch.nn.Linear(1, 1)
    assert card_of(returning(0)) == Card()
    assert networks_of(returning(0)) == {}
    assert networks_of(module) == {"reward": module}


def test_every_image_has_a_prompt():
    with pytest.raises(InputError, match="3 images and 1 prompts"):
        checked(lambda images, prompts: images.mean((1, 2, 3)), torch.rand(3, 3, 4, 4), ["a"])


def test_weights_that_are_not_finite_are_blamed_for_the_score():
    scorer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 1), torch.nn.Flatten(0))
    torch.nn.init.constant_(scorer[1].bias, float("nan"))

    class Broken:
        networks = {"scorer": scorer}  # noqa: RUF012

        def __call__(self, images, prompts):
            return scorer(images)

    with pytest.raises(RewardError, match="weights of its scorer hold a NaN or an infinity"):
        checked(Broken(), torch.zeros(2, 3, 4, 4), ["a", "b"])
