"""Live bytes and FLOPs of operations with known numbers."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.fake_mode import FakeMode

MEGA = 2**20


def megabytes(count):
    return torch.ones(count * MEGA // 4)


def test_the_peak_is_the_largest_number_of_live_bytes():
    start = megabytes(1)
    with CostTracker() as tracker:
        first = start * 2
        second = first + 1
        del first
        third = second - 1
        del second, third
        assert tracker.now == 0
    assert tracker.peak == 2 * MEGA


def test_views_and_changes_in_place_need_no_new_bytes():
    with CostTracker() as tracker:
        made = megabytes(4)
        made.view(2, -1).t().add_(1)[0].mul_(2)
    assert tracker.peak == 4 * MEGA


def test_tensors_that_autograd_keeps_are_live_until_the_backward():
    x = megabytes(1).requires_grad_()
    with CostTracker() as tracker:
        loss = x.exp().exp().sum()
        assert tracker.now == 2 * MEGA + 4
        torch.autograd.grad(loss, x)
        assert tracker.now == 4


def test_a_restart_resets_the_peak():
    tracker = CostTracker()
    with tracker:
        megabytes(3)
        tracker.restart()
        kept = megabytes(1)
        assert tracker.finish() == kept.nbytes


def test_flops_equal_torchs():
    layers = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(4 * 8 * 8, 5)
    network = nn.Sequential(*layers).requires_grad_(False)
    images = torch.rand(2, 3, 16, 16)
    network(images)

    def work():
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(network(leaf * 1).sum(), leaf)

    with CostTracker() as mine:
        work()
    with FlopCounterMode(display=False) as theirs:
        work()
    assert mine.flops == theirs.get_total_flops() > 0


class Mixed(nn.Module):
    """A convolution, a normalisation, attention, views that share storage, a change in place, and intermediate tensors."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Linear(8, 8)

    def forward(self, images):
        tokens = self.norm(self.conv(images)).flatten(2).transpose(1, 2)
        tokens = tokens + torch.arange(tokens.shape[1]).sin()[:, None]
        query, key = self.linear(tokens).chunk(2, -1)
        attended = nn.functional.scaled_dot_product_attention(*(part.unflatten(-1, (2, 2)).transpose(1, 2) for part in (query, key, key)))
        return nn.functional.silu(attended.clone().mul_(2)).to(torch.float64).mean((1, 2, 3))


@pytest.mark.parametrize("rows", [1, 3])
def test_our_fake_mode_counts_as_torchs_fake_mode_with_a_tracker(rows):
    def work(network):
        leaf = torch.zeros(rows, 3, 8, 8, requires_grad=True)
        torch.autograd.grad(network(leaf).sum(), leaf)

    ours, tracker = FakeMode(), CostTracker()
    with ours:
        network = Mixed().requires_grad_(False)
    for _ in range(2):  # the second time from what the mode has kept
        tracker.restart()
        before = tracker.flops
        with ours.tracked_by(tracker), ours:
            work(network)
    plain = FakeTensorMode()
    with plain:
        network = Mixed().requires_grad_(False)
    with plain, CostTracker() as expected:
        work(network)
    assert (tracker.flops - before, tracker.peak, tracker.now) == (expected.flops, expected.peak, 0)
    assert expected.flops > 0


def test_attention_on_the_cpu_is_counted():
    rows, heads, tokens, width = 2, 3, 16, 8
    query = torch.rand(rows, heads, tokens, width, requires_grad=True)
    with CostTracker() as flops:
        output = nn.functional.scaled_dot_product_attention(query, query, query)
        forward = flops.flops
        torch.autograd.grad(output.sum(), query)
    product = 2 * rows * heads * tokens * tokens * width
    assert forward == 2 * product
    assert flops.flops - forward == 5 * product
