from itertools import pairwise

import pytest
from hypothesis import strategies as st

from tta_core.errors import InputError
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import schedules
from tta_core.values import schedules as module
from tta_core.values.schedules import AllButLast, Constant, Every, Fraction, Geometric, GeometricDecay, Steps, Window

RUNS = [(index, total) for total in (1, 7, 50) for index in range(total)]


@drawn(first=schedules(), second=schedules())
def test_products_multiply_at_every_step(first, second):
    for index, total in RUNS:
        assert (first * second)(index, total) == pytest.approx(first(index, total) * second(index, total))


@drawn(schedule=schedules())
def test_a_schedule_is_its_repr(schedule):
    assert eval(repr(schedule), vars(module)) == schedule


@drawn(rate=st.floats(0, 0.5))
def test_geometric_growth_and_decay_are_monotone_complements(rate):
    for total in (1, 100):
        grown = [Geometric(rate)(index, total) for index in range(total)]
        left = [GeometricDecay(rate)(index, total) for index in range(total)]
        assert grown == sorted(grown)
        assert left == sorted(left, reverse=True)
        assert (grown[0], left[0]) == (0, 1)
        assert all(0 <= value <= 1 for value in (*grown, *left))
        assert all(up + down == pytest.approx(1) for up, down in zip(grown, left, strict=True))


@drawn(share=st.floats(0, 1), total=st.integers(1, 60))
def test_a_fraction_chooses_evenly_spaced_steps(share, total):
    chosen = [index for index in range(total) if Fraction(share)(index, total)]
    assert len(chosen) == round(share * total)
    if chosen:
        gaps = [b - a for a, b in zip(chosen, [*chosen[1:], total], strict=True)]
        assert chosen[0] == 0
        assert max(gaps) - min(gaps) <= 1


def chosen(schedule, total):
    return [index for index in range(total) if schedule(index, total)]


def test_published_choices_of_steps():
    tenth = [0, 10, 20, 30, 40]
    assert chosen(Every(10), 50) == chosen(Fraction(0.1), 50) == tenth
    assert chosen(Window(0.5, 1.0), 10) == [5, 6, 7, 8, 9]
    assert chosen(Fraction(0.5) * Window(0.5, 1.0), 8) == [4, 6]
    assert chosen(Steps((1, 3)), 5) == [1, 3]
    assert chosen(AllButLast(), 3) == [0, 1]
    assert Constant(2.5)(0, 1) == 2.5


@drawn(cuts=st.lists(st.floats(0, 1), min_size=2, max_size=5).map(sorted), total=st.integers(1, 60))
def test_adjacent_windows_share_no_step(cuts, total):
    ends = [0.0, *cuts, 1.0]
    windows = [Window(start, stop) for start, stop in pairwise(ends)]
    for index in range(total):
        assert sum(window(index, total) for window in windows) == 1


@pytest.mark.parametrize("make", [lambda: Every(0), lambda: Fraction(1.5), lambda: Fraction(-0.1), lambda: Window(0.0, 2.0)])
def test_meaningless_settings_are_refused(make):
    with pytest.raises(InputError):
        make()
