"""If one prompt of a batch fails, the others are finished, with the results that they have alone."""

import pytest
import torch
from faulty import BrokenError, Yields, aligned, brightness

import tta_core as tta
from tta_core import hookimpl
from tta_core.errors import RewardError, RunError
from tta_core.plugins.discovery import plugins
from tta_core.running.halves import of_samples
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.values.noise import GivenNoise
from tta_core.values.noise_rows import NoiseRows
from tta_plugins.methods.baselines import BestOfN
from tta_plugins.methods.fk import FK

PROMPTS = ("a red circle", "a blue square", "a star", "a green ring", "a cone")


class FailsFor:
    """Brightness that raises for some prompts, from the given call on that contains them."""

    def __init__(self, *bad, at=5, what=BrokenError):
        self.bad, self.at, self.what, self.calls = bad, at, what, 0

    def __call__(self, images, prompts):
        self.calls += any(prompt in prompts for prompt in self.bad)
        if self.calls > self.at and any(prompt in prompts for prompt in self.bad):
            raise self.what("no face was found")
        return brightness(images, prompts)


def failing(reward, prompts=PROMPTS, error=RewardError, **changes):
    with pytest.raises(error) as caught:
        aligned(list(prompts), reward=reward, **changes)
    return caught.value


@pytest.mark.parametrize(("at", "bad"), [(0, [0]), (1, [1]), (2, [4]), (3, [2]), (5, [1, 2]), (4, [0, 3])])
def test_the_other_prompts_have_the_results_that_they_have_alone(bad, at, count):
    count("tried")
    bad = [PROMPTS[row] for row in bad]
    error = failing(FailsFor(*bad, at=at))
    partial = error.partial
    good = [prompt for prompt in PROMPTS if prompt not in bad]
    assert f"{len(good)} of 5 prompts were finished" in str(error)
    assert "no face was found" in str(error)
    assert all(repr(prompt) in partial.stopped for prompt in bad)
    assert at or not {*bad} & {*partial.prompts}
    alone = aligned(good)
    rows = [partial.prompts.index(prompt) for prompt in good]
    assert torch.allclose(partial.result.pixels[rows], alone.result.pixels, atol=1e-5)
    assert torch.allclose(partial.baseline.pixels[rows], alone.baseline.pixels, atol=1e-5)
    assert [partial.scores[row] for row in rows] == pytest.approx(list(alone.scores), abs=1e-5)
    assert len(partial.manifest["negative"]) == len(partial.prompts) == len(partial.scores)
    assert all(len(row.scores) == len(partial.prompts) for row in partial.trace if row.scores is not None)
    partial._repr_html_()
    count("survived")


def test_repetitions_and_seeds_keep_their_noise(count):
    count("tried")
    prompts, seeds = ("a", "a", "bad", "a"), [3, 3, 3, 7]
    partial = failing(FailsFor("bad", at=1), prompts, seed=seeds, method=BestOfN(3)).partial
    whole = aligned(list(prompts), seed=seeds, method=BestOfN(3))
    rows = [row for row, prompt in enumerate(prompts) if prompt in partial.prompts]
    assert partial.manifest["seed"] == [seeds[row] for row in rows]
    assert partial.prompts == tuple(prompts[row] for row in rows)
    good = [row for row, prompt in enumerate(partial.prompts) if prompt == "a"]
    assert torch.allclose(partial.result.pixels[good], whole.result.pixels[[0, 1, 3]], atol=1e-5)
    count("survived")


@pytest.mark.parametrize("method", [FK(particles=2), BestOfN(2)], ids=["resampling", "best of n"])
def test_particles_keep_their_noise(method, count):
    count("tried")
    partial = failing(FailsFor("a star", at=1), method=method, scheduler=vp_scheduler(4, eta=1.0)).partial
    whole = aligned(list(PROMPTS), method=method, scheduler=vp_scheduler(4, eta=1.0))
    rows = [row for row, prompt in enumerate(PROMPTS) if prompt != "a star"]
    mine = [row for row, prompt in enumerate(partial.prompts) if prompt != "a star"]
    assert torch.allclose(partial.result.pixels[mine], whole.result.pixels[rows], atol=1e-5)
    count("survived")


def test_a_failure_of_all_prompts_is_raised_soon_and_unchanged(count):
    count("tried")
    reward = FailsFor(*PROMPTS, at=5)
    error = failing(reward)
    assert "halves" not in str(error)
    assert error.partial.stopped.startswith("failed at")
    assert reward.calls <= 5 + 1 + 8  # the batch, and its halves down to four single prompts
    count("survived")


def test_a_failure_that_is_not_repeated_is_still_raised(count):
    count("tried")

    class Once(FailsFor):
        def __call__(self, images, prompts):
            self.calls += 1
            if self.calls == 6:
                raise BrokenError("hiccup")
            return brightness(images, prompts)

    error = failing(Once())
    assert "5 of 5 prompts were finished" in str(error)
    assert torch.allclose(error.partial.result.pixels, aligned(list(PROMPTS)).result.pixels, atol=1e-5)
    count("survived")


def test_an_interruption_of_the_halves_keeps_the_results_so_far(count):
    count("tried")
    sizes = []

    def stop(snapshot):
        sizes.append(len(snapshot.x0))
        if sizes[-1] == 1:
            raise KeyboardInterrupt

    partial = failing(FailsFor("a cone"), observers=[stop]).partial
    assert partial.interrupted
    assert partial.prompts == PROMPTS
    assert "2 of 5 prompts were finished" in partial.stopped
    count("survived")


def test_a_spent_budget_ends_the_halves(count):
    count("tried")
    whole = aligned(list(PROMPTS))
    error = failing(FailsFor("a cone"), budget=tta.Budget(evaluations=whole.cost.evaluations))
    assert error.partial.prompts == PROMPTS
    assert error.partial.cost.evaluations < 3 * whole.cost.evaluations
    count("survived")


def test_a_method_that_fails_for_a_prompt(count):
    class Fussy(Yields):
        def align(self, problem):
            for index in range(3):
                x0 = problem.controls.noise[0] * index / 3
                yield tta.Snapshot(index, 3, problem.controls, x0, problem.look(x0).scores)
                if index == 1 and "a star" in problem.prompts:
                    raise ZeroDivisionError("star")

    count("tried")
    error = failing(brightness, error=RunError, method=Fussy())
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "4 of 5 prompts were finished; failed again: 'a star'" in str(error)
    assert error.partial.prompts == PROMPTS
    assert len(error.partial.trace) == 2
    count("survived")


def test_observers_are_called_as_for_one_run(count):
    class Watching:
        def __init__(self):
            self.told = []

        @hookimpl
        def tta_run_started(self, problem):
            self.told.append("started")

        @hookimpl
        def tta_run_finished(self, alignment):
            self.told.append(len(alignment.prompts))

    count("tried")
    hooks, watching = plugins().hooks, Watching()
    hooks.register(watching, name="watching")
    try:
        failing(FailsFor("a cone"))
    finally:
        hooks.unregister(watching)
    assert watching.told == ["started", 5]
    count("survived")


def test_rows_of_given_noises():
    rows = tuple(torch.randn(2, 3, 1, 2, 2) for _ in range(2))
    uniforms, directions = {(0,): torch.rand(4, 3, dtype=torch.float64)}, {(1, 2): torch.randn(3, 5)}
    some = NoiseRows(GivenNoise(rows, uniforms=uniforms, directions=directions), (0, 2), 3)
    assert torch.equal(some(1, 1), rows[1][1][[0, 2]])
    assert torch.equal(some.uniform(4, 0), uniforms[(0,)][:, [0, 2]])
    assert torch.equal(some.like(torch.empty(2, 5), 1, 2), directions[(1, 2)][[0, 2]])


def test_permutations_of_some_samples_equal_those_in_the_batch():
    with tta.prepare(list(PROMPTS), backbone=GaussianMixture(), method="fixed", reward=brightness, scheduler=vp_scheduler(2)) as prepared:
        some, source = of_samples(prepared, (1, 3)).problem, prepared.problem.noises
        assert some.prompts == (PROMPTS[1], PROMPTS[3])
        for mine, all_ in zip(some.noises.permutations(2, 7, 5), source.permutations(2, 7, 5), strict=True):
            assert torch.equal(mine, all_[[1, 3]])
