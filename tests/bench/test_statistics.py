"""Intervals have their coverage, best of n is unbiased, and verdicts have the stated error rates."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tta_plugins.bench.pool import best_of, divergence, weights
from tta_plugins.bench.statistics import Interval, holm, interval, paired, prompt_means, wins
from tta_plugins.bench.verdicts import GAIN, HACKED, HARM, NOTHING, Evidence, verdict_of

EFFECT = 0.3


def simulated(generator, prompts, seeds, effect=EFFECT):
    """Differences by (prompt, seed). The effect differs between prompts, so pairs of one prompt are correlated."""
    own = generator.normal(effect, 1.0, (prompts, 1))
    drawn = own + generator.normal(0, 0.7, (prompts, seeds))
    return {(prompt, seed): drawn[prompt, seed] for prompt in range(prompts) for seed in range(seeds)}


def gain(generator, prompts=50, seeds=1, effect=0.0):
    return interval(list(prompt_means(simulated(generator, prompts, seeds, effect)).values()))


@pytest.mark.parametrize(("prompts", "seeds"), [(10, 4), (40, 1), (50, 3)])
def test_intervals_cover_the_true_effect(prompts, seeds):
    generator, tries = np.random.default_rng(prompts), 2000
    found = [gain(generator, prompts, seeds, EFFECT) for _ in range(tries)]
    covered = sum(one.low <= EFFECT <= one.high for one in found) / tries
    assert 0.93 <= covered <= 0.97


def test_intervals_that_treat_pairs_as_independent_do_not_cover():
    generator, tries = np.random.default_rng(0), 400
    covered = 0
    for _ in range(tries):
        one = interval(list(simulated(generator, 10, 4).values()))
        covered += one.low <= EFFECT <= one.high
    assert covered / tries < 0.9


def test_the_detectable_gain_is_detected_four_times_in_five():
    generator, tries = np.random.default_rng(3), 1500
    detectable = np.mean([gain(generator, 30).detectable for _ in range(200)])
    assert 0.75 <= np.mean([gain(generator, 30, effect=detectable).above for _ in range(tries)]) <= 0.85


def test_fewer_than_two_prompts_give_no_interval():
    assert interval([0.5]).low == -np.inf
    assert interval([0.5]).p == 1


@pytest.mark.parametrize("value", [1.0, 0.1 + 0.2])
def test_equal_gains_of_few_prompts_are_no_evidence(value):
    """With scores of 0 or 1 two prompts often have the same gain, and t is undefined."""
    few, many = interval([value] * 3), interval([value] * 12)
    assert (few.p, few.low) == (0.25, -np.inf)
    assert (many.p, many.low) == (2.0**-11, pytest.approx(value))
    assert interval([0.0, 0.0]) == Interval(0, 0, 0, 1, 2, 0)


def test_only_common_cells_are_paired():
    assert paired({(0, 0): 3.0, (1, 0): 1.0}, {(0, 0): 1.0, (2, 0): 5.0}) == {(0, 0): 2.0}


def test_a_tie_is_half_a_win():
    assert wins({(0, 0): 1.0, (1, 0): 0.0, (2, 0): -1.0, (3, 0): 2.0}).mean == pytest.approx(0.625)


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_never_reorders(values):
    p = {str(place): value for place, value in enumerate(values)}
    adjusted = holm(p)
    assert all(p[name] <= adjusted[name] <= 1 for name in p)
    assert all(adjusted[one] <= adjusted[two] for one in p for two in p if p[one] < p[two])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 5)), min_size=1, max_size=7), st.data())
def test_the_pool_is_the_mean_over_all_choices(draws, data):
    n = data.draw(st.integers(1, len(draws)))
    target, score = [float(one) for one, _ in draws], [float(two) for _, two in draws]
    kept = []
    for chosen in combinations(range(len(draws)), n):
        best = max(target[draw] for draw in chosen)
        tied = [score[draw] for draw in chosen if target[draw] == best]
        kept.append(sum(tied) / len(tied))
    # equal samples are kept with equal probability; an average over choices has this only if it is over all equal ones
    if len(set(target)) == len(target):
        assert best_of(n, target, score) == pytest.approx(sum(kept) / len(kept))
    assert best_of(n, target, target) == pytest.approx(
        np.mean([max(target[draw] for draw in chosen) for chosen in combinations(range(len(draws)), n)])
    )


def test_the_pool_is_unbiased_on_simulated_samples():
    generator = np.random.default_rng(1)
    pools = generator.normal(size=(4000, 12))
    pooled = np.mean([best_of(4, pool.tolist(), pool.tolist()) for pool in pools])
    fresh = generator.normal(size=(200_000, 4)).max(1).mean()
    assert pooled == pytest.approx(fresh, abs=0.02)


def test_ties_are_kept_with_equal_chance():
    assert best_of(2, [1, 1, 1], [0.0, 3.0, 6.0]) == pytest.approx(3.0)
    assert best_of(3, [0, 1, 1], [9.0, 2.0, 4.0]) == pytest.approx(3.0)


def test_a_fractional_n_mixes_the_two_nearest_whole_numbers():
    target = [0.1, 0.5, 0.9, 0.2]
    assert best_of(2.25, target, target) == pytest.approx(0.75 * best_of(2, target, target) + 0.25 * best_of(3, target, target))


def test_more_samples_than_the_pool_has_are_refused():
    with pytest.raises(ValueError, match="best of 5"):
        best_of(5, [1, 2], [1, 2])


def test_weights_sum_to_one():
    assert sum(weights(9, 4)) == pytest.approx(1)
    assert divergence(1) == 0


def evidence(generator, target, held_out, prompts=50):
    own, other = gain(generator, prompts, effect=target), gain(generator, prompts, effect=held_out)
    return Evidence(own, own, own.p, {"judge": other})


def test_no_effect_is_no_evidence():
    generator = np.random.default_rng(5)
    words = [verdict_of(evidence(generator, 0.0, 0.0)).word for _ in range(1500)]
    assert words.count(NOTHING) / len(words) >= 0.93


def test_a_planted_hack_is_found():
    generator = np.random.default_rng(6)
    words = [verdict_of(evidence(generator, 1.0, -1.0)).word for _ in range(200)]
    assert words.count(HACKED) / len(words) >= 0.95


def test_an_honest_gain_is_a_gain():
    generator = np.random.default_rng(7)
    words = [verdict_of(evidence(generator, 1.0, 0.0)).word for _ in range(400)]
    assert words.count(GAIN) / len(words) >= 0.95


UP, DOWN, FLAT = Interval(0.4, 0.2, 0.6, 1e-4, 50, 0.3), Interval(-0.4, -0.6, -0.2, 1e-4, 50, 0.3), Interval(0.0, -0.2, 0.2, 1.0, 50, 0.3)


def test_harm_is_named():
    assert verdict_of(Evidence(FLAT, DOWN, 1e-4, {})).word == HARM


def test_a_large_change_of_image_statistics_is_a_hack():
    gone = Interval(-0.6, -0.7, -0.5, 1e-9, 50, 0.1)
    assert verdict_of(Evidence(UP, UP, 1e-4, {}, {"edge density": gone})).word == HACKED
    assert verdict_of(Evidence(FLAT, FLAT, 1.0, {}, {"edge density": gone})).word == NOTHING


def test_a_gain_that_jpeg_removes_is_a_hack():
    assert verdict_of(Evidence(UP, UP, 1e-4, {}, jpeg=FLAT)).word == HACKED
    assert verdict_of(Evidence(UP, UP, 1e-4, {}, jpeg=UP)).word == GAIN


def test_significance_is_lost_among_many_arms():
    assert verdict_of(Evidence(UP, UP, 0.2, {})).word == NOTHING
