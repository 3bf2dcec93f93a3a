import pytest
import torch
from hypothesis import strategies as st

from tta_core.errors import InputError
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import seeds
from tta_core.values.noise import GivenNoise, KeyedNoise, NoiseSource, hashed, keyed_noises, keyed_normal

CPU, SHAPE = torch.device("cpu"), (4, 4, 4)


def source(*seeds_, samples=None):
    return KeyedNoise(seeds_, samples or (0,) * len(seeds_), SHAPE, CPU)


@drawn(first=seeds(), second=seeds(), row=st.integers(0, 50), child=st.integers(0, 5))
def test_a_samples_noise_does_not_depend_on_the_batch(first, second, row, child):
    both = source(first, second)
    assert torch.equal(both(row, child)[1], source(second)(row, child)[0])
    tensor = torch.zeros(2, 3, 5)
    assert torch.equal(both.like(tensor, row, child)[1], source(second).like(tensor[:1], row, child)[0])
    assert torch.equal(stacked(both.permutations(2, 7, row))[1], stacked(source(second).permutations(2, 7, row))[0])


def stacked(permutations):
    return torch.stack(list(permutations), 1)


def test_call_order_does_not_matter():
    noise = source(0)
    first = noise(3, 1)
    noise(0, 0), noise(9, 2)
    assert torch.equal(noise(3, 1), first)


def test_every_part_of_the_key_counts():
    noises = [source(0)(1, 0), source(1)(1, 0), source(0)(2, 0), source(0)(1, 1), source(0, samples=(1,))(1, 0)]
    noises.append(source(0).like(torch.zeros(1, *SHAPE), 1, 0))
    for i, first in enumerate(noises):
        for second in noises[i + 1 :]:
            assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.5


def test_noises_are_standard_normal():
    values = torch.cat([source(seed)(0, 0).flatten() for seed in range(500)])
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert abs((values**4).mean() - 3) < 0.15


def test_both_halves_of_the_key_are_used():
    """Seeds that agree in their lower 32 bits must give different noise, although torch's generator uses only 32 bits."""
    first, second = hashed(("a", 1))
    assert 0 <= first < 2**32
    assert first != second
    halves = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(half)) for half in (first, second)]
    assert torch.allclose(keyed_normal(("a", 1), SHAPE), (halves[0] + halves[1]) / 2**0.5)


def test_permutations_are_permutations():
    drawn_ones = stacked(source(0, 1).permutations(5, 11, 0))
    assert drawn_ones.shape == (2, 5, 11)
    assert torch.equal(drawn_ones.sort(-1).values, torch.arange(11, dtype=torch.int32).expand(2, 5, 11))


def test_the_global_generator_is_not_used():
    before = torch.get_rng_state()
    source(0)(0, 0), stacked(source(0).permutations(2, 5, 0))
    assert torch.equal(before, torch.get_rng_state())


def test_repetitions_are_numbered_by_prompt_and_seed():
    assert keyed_noises(("a", "b", "a"), 0, SHAPE, CPU).samples == (0, 0, 1)
    assert keyed_noises(("a", "b", "a"), (0, 0, 1), SHAPE, CPU).samples == (0, 0, 0)


def test_given_noises_are_used_first_and_then_those_of_rest():
    rows = (torch.zeros(2, 1, *SHAPE), torch.ones(1, 1, *SHAPE))
    given = GivenNoise(rows, rest=source(0))
    assert isinstance(given, NoiseSource)
    assert torch.equal(given(1, 0), torch.ones(1, *SHAPE))
    assert torch.equal(given(1, 1), source(0)(1, 1))
    assert torch.equal(given(2, 0), source(0)(2, 0))
    assert torch.equal(stacked(given.permutations(1, 3, 0)), stacked(source(0).permutations(1, 3, 0)))


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (lambda noise: noise(1, 2), r"noise row 1, child 2.*\[2, 1\] children"),
        (lambda noise: noise(5, 0), "noise row 5, child 0"),
        (lambda noise: noise.like(torch.zeros(1, 2), 3), r"a direction for \(3,\)"),
        (lambda noise: noise.permutations(1, 2, 4), r"permutations for \(4,\)"),
    ],
)
def test_missing_noise_is_an_error(ask, wanted):
    given = GivenNoise((torch.zeros(2, 1, *SHAPE), torch.zeros(1, 1, *SHAPE)))
    with pytest.raises(InputError, match=wanted):
        ask(given)
