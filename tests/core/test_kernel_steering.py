import pytest
import torch
from hypothesis import strategies as st

from tta_core.solving import steering
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import normals

VALUES = st.tuples(normals(3, 4, 2), normals(3, 5))


@drawn(value=VALUES)
def test_norms_are_per_sample_over_all_tensors(value):
    together = torch.cat([tensor.flatten(1) for tensor in value], dim=1)
    torch.testing.assert_close(steering.norm(value), together.norm(dim=1))
    torch.testing.assert_close(steering.mean_square(value), together.square().mean(1))


@drawn(value=VALUES)
def test_unit_vectors_have_length_one_and_zero_is_not_changed(value):
    lengths, was = steering.norm(steering.unit(value)), steering.norm(value)
    assert torch.allclose(lengths[was > 0], torch.ones(()), atol=1e-5)
    assert not lengths[was == 0].any()
    assert all(torch.isfinite(tensor).all() for tensor in steering.unit(value))


@drawn(value=VALUES, longest=st.floats(1e-3, 1e3))
def test_clipping_equals_torchs_for_each_sample(value, longest):
    clipped = steering.clipped(value, longest)
    for row in range(3):
        leaves = [torch.zeros_like(tensor[row]).requires_grad_() for tensor in value]
        for leaf, tensor in zip(leaves, value, strict=True):
            leaf.grad = tensor[row].clone()
        torch.nn.utils.clip_grad_norm_(leaves, longest)
        for leaf, tensor in zip(leaves, clipped, strict=True):
            torch.testing.assert_close(leaf.grad, tensor[row])


@drawn(value=VALUES, other=VALUES)
def test_sums_and_differences_undo_each_other(value, other):
    for tensor, back in zip(value, steering.added(other, steering.difference(value, other)), strict=True):
        torch.testing.assert_close(tensor, back, atol=1e-4, rtol=1e-4)


def test_best_selects_each_samples_best_copy_and_the_first_of_equal_ones():
    scores = torch.tensor([1.0, 5.0, 3.0, 4.0, 3.0, 5.0])  # 3 copies of 2 samples, k-major
    assert steering.best(scores, 2).tolist() == [2, 1]
    assert steering.best(scores[:2], 2).tolist() == [0, 1]


def test_leaves_are_fresh_float32():
    origin = torch.ones(2, 3, dtype=torch.float64)
    (leaf,) = steering.leaves((origin,))
    leaf.data.add_(1)
    assert leaf.requires_grad
    assert leaf.is_leaf
    assert leaf.dtype == torch.float32
    assert origin.eq(1).all()
    (copy,) = steering.detached((leaf,))
    leaf.data.add_(1)
    assert copy.eq(2).all()


@pytest.mark.parametrize("rule", [steering.Adam(lr=0.1), steering.AdamW(lr=0.1), steering.SGD(lr=0.1)])
def test_every_rule_ascends(rule):
    value = steering.leaves((torch.tensor([[3.0], [-3.0]]),))
    optimizer = rule(value)
    for _ in range(100):
        (gradient,) = torch.autograd.grad(-(value[0] - 1).square().sum(), value)
        steering.ascend(optimizer, value, (gradient,))
    assert (value[0] - 1).abs().max() < 0.5


def test_adams_first_step_has_the_size_of_its_learning_rate():
    for scale in (1e-4, 1.0, 1e4):
        value = steering.leaves((torch.zeros(1, 1),))
        steering.ascend(steering.Adam(lr=0.1)(value), value, (torch.full((1, 1), scale),))
        assert value[0].item() == pytest.approx(0.1, rel=1e-2)


def test_weight_decay_is_off_by_default():
    for decay, expected in ((0.0, 1.0), (0.5, 0.95)):
        value = steering.leaves((torch.ones(1, 1),))
        steering.ascend(steering.AdamW(lr=0.1, weight_decay=decay)(value), value, (torch.zeros(1, 1),))
        assert value[0].item() == pytest.approx(expected)
