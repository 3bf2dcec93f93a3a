"""Live bytes and FLOPs on operations whose numbers are known."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tta_plugins.cost.cost_tracker import CostTracker

MEGA = 2**20


def megabytes(count):
    return torch.ones(count * MEGA // 4)


def test_the_peak_is_what_was_alive_at_once():
    start = megabytes(1)
    with CostTracker() as tracker:
        first = start * 2
        second = first + 1
        del first
        third = second - 1
        del second, third
        assert tracker.now == 0
    assert tracker.peak == 2 * MEGA


def test_views_and_changes_in_place_are_no_new_bytes():
    with CostTracker() as tracker:
        made = megabytes(4)
        made.view(2, -1).t().add_(1)[0].mul_(2)
    assert tracker.peak == 4 * MEGA


def test_what_autograd_keeps_is_alive_until_the_backward():
    x = megabytes(1).requires_grad_()
    with CostTracker() as tracker:
        loss = x.exp().exp().sum()
        assert tracker.now == 2 * MEGA + 4
        torch.autograd.grad(loss, x)
        assert tracker.now == 4


def test_a_restart_forgets_the_peak():
    tracker = CostTracker()
    with tracker:
        megabytes(3)
        tracker.restart()
        kept = megabytes(1)
        assert tracker.finish() == kept.nbytes


def test_flops_are_torchs_own():
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


def test_attention_on_the_cpu_has_its_flops():
    rows, heads, tokens, width = 2, 3, 16, 8
    query = torch.rand(rows, heads, tokens, width, requires_grad=True)
    with CostTracker() as flops:
        output = nn.functional.scaled_dot_product_attention(query, query, query)
        forward = flops.flops
        torch.autograd.grad(output.sum(), query)
    product = 2 * rows * heads * tokens * tokens * width
    assert forward == 2 * product
    assert flops.flops - forward == 5 * product
