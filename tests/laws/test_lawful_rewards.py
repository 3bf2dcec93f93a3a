"""The rewards of `tta_core.testing`, and the package's rewards without weights, keep the laws."""

import pytest
import torch

from tta_core.testing import RewardSuite
from tta_core.testing.problems import Indifferent, Likeness, Opaque


class TestLikeness(RewardSuite):
    @pytest.fixture
    def reward(self):
        return Likeness()

    @pytest.fixture
    def ranked(self):
        grey = torch.full((3, 8, 8), 0.5)
        return [("a red circle", grey, torch.ones_like(grey)), ("a blue square", grey, torch.zeros_like(grey))]


class TestIndifferent(RewardSuite):
    @pytest.fixture
    def reward(self):
        return Indifferent()


class TestOpaque(RewardSuite):
    differentiable = False

    @pytest.fixture
    def reward(self):
        return Opaque()


def sharpness(images, prompts):
    """Mean squared horizontal difference."""
    return images.diff(dim=-1).square().mean((1, 2, 3))


class TestPlainFunction(RewardSuite):
    @pytest.fixture
    def reward(self):
        return sharpness
