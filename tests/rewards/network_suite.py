"""The laws of rewards, and further requirements of a reward with networks: half precision, and images of any kind."""

from copy import deepcopy

import pytest
import torch

from tta_core.protocols.reward import networks_of
from tta_core.testing import RewardSuite


class NetworkSuite(RewardSuite):
    """Inherit it as RewardSuite. `rounding`: largest relative error of a score in bfloat16; in float16 an eighth of it."""

    rounding = 0.05

    @pytest.fixture
    def asked(self):
        """Two prompts that the reward accepts."""
        return ["3 5", "7"]

    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 40), (64, 24)])
    def test_black_white_and_any_size(self, reward, asked, size):
        images = torch.stack([torch.zeros(3, *size), torch.ones(3, *size)]).requires_grad_()
        scores = reward(images, asked)
        assert scores.shape == (2,)
        assert scores.isfinite().all()
        assert torch.autograd.grad(scores.sum(), images)[0].isfinite().all()

    @pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 1), (torch.float16, 0.125)])
    def test_half_precision_changes_scores_only_by_rounding(self, reward, asked, dtype, share):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5)).requires_grad_()
        exact = reward(images, asked)
        cast = deepcopy(reward)
        for network in networks_of(cast).values():
            network.to(dtype)
        half = cast(images, asked)
        assert half.dtype == torch.float32
        assert (half - exact).abs().max() <= share * self.rounding * exact.abs().max()
        gradient, rounded = (torch.autograd.grad(scores.sum(), images)[0] for scores in (exact, half))
        assert (rounded - gradient).norm() <= share * 8 * self.rounding * gradient.norm()
