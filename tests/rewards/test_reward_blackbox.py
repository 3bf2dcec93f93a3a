"""A black box reward: the images that the function gets, and the behaviour if it fails."""

import logging
import sys
import threading

import pytest
import torch

from tta_core.errors import InputError, RewardError
from tta_core.protocols.reward import card_of
from tta_plugins.rewards.blackbox import BlackBox, pil_images


def mean_level(images, prompts):
    return [sum(image.resize((1, 1)).getpixel((0, 0))) / 3 + len(prompt) for image, prompt in zip(images, prompts, strict=True)]


class Flaky:
    """Fails its first calls."""

    def __init__(self, failures):
        self.failures, self.calls = failures, 0

    def __call__(self, images, prompts):
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"call {self.calls}")
        return [1.0] * len(images)


def test_images_are_8_bit_rgb_in_order():
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 3, 2, 4)
    made = pil_images(images)
    assert [(image.mode, image.size, image.getpixel((0, 0))) for image in made] == [
        ("RGB", (4, 2), (level,) * 3) for level in (0, 128, 255)
    ]


@pytest.mark.parametrize("batch", [None, 1, 2, 5])
def test_scores_are_in_order_for_any_batch_size(batch):
    sizes = []

    def judge(images, prompts):
        sizes.append(len(images))
        return mean_level(images, prompts)

    images = torch.tensor([0.0, 0.2, 1.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    scores = BlackBox(judge, batch=batch)(images, ["", "a", "bc"])
    assert scores.tolist() == [0, 52, 257]
    assert max(sizes) <= (batch or 3)
    assert sum(sizes) == 3


def test_a_retry_is_counted_and_logged(caplog):
    reward = BlackBox(Flaky(1), retries=1, pause=0)
    with caplog.at_level(logging.WARNING):
        assert reward(torch.rand(2, 3, 4, 4), ["", ""]).tolist() == [1, 1]
    assert reward.failures == ["images 0 to 1, attempt 1 of 2: ConnectionError: call 1"]
    assert "attempt 1 of 2" in caplog.text


def test_the_last_failure_lists_every_attempt_and_gives_no_score():
    reward = BlackBox(Flaky(9), batch=1, retries=2, pause=0)
    with pytest.raises(RewardError, match=r"Flaky.* no score for images 0 to 0: attempt 1 of 3.*call 1.*attempt 3 of 3.*call 3"):
        reward(torch.rand(2, 3, 4, 4), ["", ""])


def test_a_call_that_hangs_times_out():
    released = threading.Event()
    reward = BlackBox(lambda images, prompts: [float(released.wait(600))], timeout=0.05)
    with pytest.raises(RewardError, match=r"TimeoutError: no answer in 0\.05 s"):
        reward(torch.rand(1, 3, 4, 4), [""])
    released.set()
    assert BlackBox(mean_level, timeout=600)(torch.zeros(1, 3, 4, 4), [""]).tolist() == [0]
    with pytest.raises(RewardError, match="ConnectionError: call 1"):
        BlackBox(Flaky(9), timeout=600)(torch.rand(1, 3, 4, 4), [""])


@pytest.mark.parametrize("answer", [[], [1.0, 2.0], [float("nan")], [float("inf")], [1e39]])
def test_an_answer_that_is_not_one_finite_number_each_is_refused_at_once(answer):
    calls = []
    reward = BlackBox(lambda images, prompts: calls.append(1) or answer, retries=3)
    with pytest.raises(RewardError, match="1 numbers, one per image"):
        reward(torch.rand(1, 3, 4, 4), [""])
    assert len(calls) == 1


def test_options():
    assert card_of(BlackBox(mean_level)).differentiable is False
    with pytest.raises(InputError, match="batch=0"):
        BlackBox(mean_level, batch=0)
    for wrong in ({"timeout": -1}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"pause": -1.0}, {"pause": float("nan")}):
        with pytest.raises(InputError, match="cannot be used"):
            BlackBox(mean_level, **wrong)


def test_a_scorer_that_ends_its_thread_has_not_timed_out():
    with pytest.raises(SystemExit):
        BlackBox(lambda images, prompts: sys.exit(3), timeout=600)(torch.rand(1, 3, 4, 4), [""])
