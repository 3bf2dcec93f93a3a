"""Each law of rewards fails for a reward that is made to break it."""

import pytest
import torch
from breaking import assert_caught, laws_of

from tta_core import Card
from tta_core.testing import RewardSuite
from tta_core.testing.problems import Kinked, Likeness, Opaque


def per_channel(images, prompts):
    return images.mean((2, 3))


def noisy(images, prompts):
    return Likeness()(images, prompts) + torch.rand(())


def centred(images, prompts):
    scores = Likeness()(images, prompts)
    return scores - scores.mean()


def numbered(images, prompts):
    return Likeness()(images, prompts) + torch.arange(len(prompts))


def overwriting(images, prompts):
    return images.detach().mul_(0.5).mean((1, 2, 3))


def graph_lover(images, prompts):
    return Likeness()(images, prompts) + float(images.requires_grad)


def lying_gradient(images, prompts):
    scores = Likeness()(images, prompts)
    return 2 * scores.detach() - scores


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images, prompts):
        self.calls += 1
        return images.mean((1, 2, 3))


class Unitless:
    card = Card(unit="")

    def __call__(self, images, prompts):
        return images.mean((1, 2, 3))


def falling(images, prompts):
    return -Likeness()(images, prompts)


BROKEN = {
    "test_one_finite_float_per_image": per_channel,
    "test_the_same_image_gets_the_same_score": noisy,
    "test_each_image_is_scored_alone": centred,
    "test_order_does_not_matter": numbered,
    "test_images_are_not_changed": overwriting,
    "test_scores_do_not_depend_on_the_grad_mode": graph_lover,
    "test_differentiable_is_declared_correctly": Opaque(),
    "test_gradients_are_finite": Kinked(),
    "test_a_score_depends_on_its_own_image": centred,
    "test_the_gradient_predicts_the_change": lying_gradient,
    "test_networks_are_left_as_they_were": Counting(),
    "test_the_card_can_be_read": Unitless(),
    "test_better_images_score_higher": falling,
}

GREY = torch.full((3, 8, 8), 0.5)


@pytest.mark.parametrize("law", laws_of(RewardSuite))
def test_the_law_catches(law):
    ranked = [("a red circle", GREY, torch.ones_like(GREY))]
    assert_caught(RewardSuite, law, {"reward": BROKEN[law], "ranked": ranked}, attributes={})


NOT_SCORES = {
    "integers": lambda images, prompts: torch.ones(len(prompts), dtype=torch.int64),
    "NaN": lambda images, prompts: images.mean((1, 2, 3)) * float("nan"),
    "a list": lambda images, prompts: [0.0] * len(prompts),
    "one number": lambda images, prompts: images.mean(),
}


@pytest.mark.parametrize("reward", NOT_SCORES.values(), ids=NOT_SCORES)
def test_invalid_scores_are_detected(reward):
    class Scoring(RewardSuite):
        def _score(self, reward, images, texts):
            return reward(images, texts)

    with pytest.raises(AssertionError):
        Scoring().test_one_finite_float_per_image(reward=reward)
