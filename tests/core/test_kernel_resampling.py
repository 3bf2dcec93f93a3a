"""Weights, evidence and ancestors: the properties of each scheme, for every population separately."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tta_core.solving import resampling
from tta_core.solving.resampling import ancestors, as_rows, drawn, population, uniforms_needed
from tta_core.testing.problems import problem_for
from tta_plugins.methods.baselines import Fixed

SCHEMES = ["ssp", "systematic", "stratified", "multinomial", "independent"]


def weights(particles, samples, seed=0):
    raw = torch.rand(particles, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return raw / raw.sum(0)


def uniforms(count, samples, seed=1):
    return torch.rand(count, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_expected_number_of_descendants_is_k_times_the_weight(scheme):
    one = weights(5, 1)
    many = one.expand(5, 6000)
    counts = torch.stack([(ancestors(scheme, many, uniforms(uniforms_needed(scheme, 5), 6000)) == k).sum(0) for k in range(5)]).double()
    error = counts.std(1) / 6000**0.5
    assert ((counts.mean(1) - 5 * one[:, 0]).abs() <= 4 * error + 1e-9).all()


@pytest.mark.parametrize("scheme", ["ssp", "systematic"])
@given(particles=st.integers(1, 7), seed=st.integers(0, 1000))
def test_counts_are_the_floor_or_the_ceiling(scheme, particles, seed):
    given_weights = weights(particles, 3, seed)
    found = ancestors(scheme, given_weights, uniforms(uniforms_needed(scheme, particles), 3, seed + 1))
    counts = torch.stack([(found == k).sum(0) for k in range(particles)])
    expected = particles * given_weights
    assert (counts >= (expected - 1e-9).floor()).all()
    assert (counts <= (expected + 1e-9).ceil()).all()
    assert (counts.sum(0) == particles).all()


@pytest.mark.parametrize("scheme", ["ssp", "systematic", "stratified"])
def test_equal_weights_change_nothing(scheme):
    equal = population(4, 2).weights
    found = ancestors(scheme, equal, uniforms(uniforms_needed(scheme, 4), 2))
    assert torch.equal(found, torch.arange(4)[:, None].expand(4, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_populations_never_mix(scheme):
    both, given_uniforms = weights(4, 2), uniforms(uniforms_needed(scheme, 4), 2)
    together = ancestors(scheme, both, given_uniforms)
    for sample in range(2):
        alone = ancestors(scheme, both[:, sample : sample + 1], given_uniforms[:, sample : sample + 1])
        assert torch.equal(together[:, sample : sample + 1], alone)


def test_rows_are_k_major():
    found = torch.tensor([[1, 0], [1, 1], [2, 0]])
    assert as_rows(found).tolist() == [2, 1, 2, 3, 4, 1]


def test_a_uniform_selects_the_first_particle_whose_cumulative_weight_reaches_it():
    given_weights = torch.tensor([[0.2, 0.0], [0.3, 1.0], [0.5, 0.0]], dtype=torch.float64)
    rows = drawn(given_weights, torch.tensor([[0.4, 0.999]], dtype=torch.float64))
    assert rows.tolist() == [2, 3]


def test_multinomial_points_are_sorted_uniforms():
    """The points are made from K + 1 exponentials; the last one is not a point, but normalises the others."""
    given_uniforms = torch.tensor([[0.5], [0.25], [0.5]], dtype=torch.float64)
    half = torch.tensor([[0.25], [0.75]], dtype=torch.float64)
    assert ancestors("multinomial", half, given_uniforms)[:, 0].tolist() == [0, 1]


def test_weights_evidence_and_effective_size():
    start = population(4, 2)
    assert start.effective_size.tolist() == pytest.approx([4, 4])
    increments = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    heavier = start.reweighted(increments)
    torch.testing.assert_close(heavier.weights.sum(0), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(heavier.log_evidence, increments.double().exp().mean(0).log())
    assert heavier.effective_size[1].item() == pytest.approx(4)
    resampled = heavier.resampled(torch.tensor([True, False]))
    assert resampled.effective_size.tolist() == pytest.approx([4, 4])
    assert torch.equal(resampled.log_evidence, heavier.log_evidence)
    torch.testing.assert_close(resampled.weights[:, 1], heavier.weights[:, 1])


def test_large_increments_do_not_overflow():
    heavier = population(2, 1).reweighted(torch.tensor([[5000.0], [4999.0]]))
    torch.testing.assert_close(heavier.weights, torch.softmax(torch.tensor([[1.0], [0.0]], dtype=torch.float64), 0))


def test_no_uniforms_are_used_without_resampling():
    start = population(3, 2)
    same, found = resampling.resampled(problem_for(Fixed()), start, "ssp", torch.tensor([False, False]), 0)
    assert same is start
    assert torch.equal(found, resampling.unmoved(start))
