"""`align`: the arguments that it refuses, the result that it returns, and how a run ends early."""

import inspect

import attrs
import pytest
import torch

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError, OutOfMemoryError, RewardError, UnknownNameError
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness, Opaque, Undefined
from tta_core.values.arguments import as_prompts
from tta_core.values.noise import keyed_noises
from tta_core.values.schedules import Every
from tta_plugins.methods.baselines import BestOfN, Fixed
from tta_plugins.methods.date import DATE
from tta_plugins.methods.null_tta import NullTTA


def aligned(prompts="a red circle", **changes):
    settings = {"backbone": GaussianMixture(), "method": DATE(), "reward": Likeness(), "scheduler": vp_scheduler(4)}
    return tta.align(prompts, **{**settings, **changes})


REFUSED = {
    "no prompt": ({"prompts": []}, InputError, "There is no prompt"),
    "seeds": ({"prompts": ["a", "b"], "seed": [1, 2, 3]}, InputError, "3 seeds for 2 prompts"),
    "negatives": ({"prompts": ["a", "b"], "negative": ["x"]}, InputError, "1 negative prompts for 2 prompts"),
    "steps": ({"steps": 0, "scheduler": "ddim"}, InputError, "steps is 0"),
    "latents": ({"latents": torch.zeros(1, 4, 4, 5)}, InputError, r"\(1, 4, 4, 5\), but this run starts from \(1, 4, 4, 4\)"),
    "size": ({"height": 7}, InputError, "7 x 8"),
    "size 0": ({"width": 0}, InputError, "8 x 0"),
    "backbone": ({"backbone": object()}, InputError, "object is not a backbone"),
    "reward": ({"reward": 3}, InputError, "3 is not a reward"),
    "method class": ({"method": DATE}, InputError, "is not a method.*an instance"),
    "method name": ({"method": "dat"}, UnknownNameError, "Did you mean 'date'"),
    "reward name": ({"reward": "jpg"}, UnknownNameError, "No reward is called 'jpg'"),
    "memory": ({"memory": 3}, InputError, "3 is not a memory policy"),
    "guidance 1": ({"method": NullTTA(), "guidance": 1.0}, IncompatibleError, "guidance 1.*Use a guidance above 1"),
    "no null": ({"method": NullTTA(), "backbone": GaussianMixture(has_null=False)}, IncompatibleError, "GaussianMixture.*TextEmbedding"),
    "pooled": ({"method": DATE(variable=tta.TextEmbedding(pooled=True))}, IncompatibleError, "Set pooled=False"),
    "no gradient": ({"reward": Opaque()}, IncompatibleError, "Opaque.*ZerothOrder"),
    "undeclared": ({"reward": lambda images, prompts: images.detach().mean((1, 2, 3))}, IncompatibleError, "best-of-n"),
    "NaN": ({"reward": Undefined()}, RewardError, "Undefined"),
}


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_impossible_combinations_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        aligned(**changes)


def test_a_run_without_a_baseline_has_the_same_result(tmp_path):
    with_one, without = aligned(method=BestOfN(2)), aligned(method=BestOfN(2), baseline=False)
    assert torch.equal(with_one.result.pixels, without.result.pixels)
    assert without.baseline is None
    assert (with_one.cost.reused, without.cost.reused["text"]) != ({}, with_one.cost.reused["text"])
    folder = without.save(tmp_path / "run")
    assert sorted(path.name for path in folder.iterdir()) == ["aligned.png", "grid.png", "run.json"]
    assert without.record()["baseline_scores"] is None
    assert without.grid().width == without.images[0].width
    assert "baseline left" not in without._repr_html_()
    assert without.report(tmp_path / "page.html").is_file()


def test_a_prompt_that_is_not_text_is_refused():
    with pytest.raises(InputError, match=r"one is 3 \(int\)"):
        inspect.unwrap(as_prompts)(["a", 3])  # without the tests' own type checks, as users call it


def test_refusals_come_before_the_first_step():
    seen = []
    with pytest.raises(IncompatibleError):
        aligned(reward=Opaque(), observers=[seen.append])
    assert not seen


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(InputError, match="inference_mode"):
        aligned()


def test_under_no_grad_the_result_is_the_same():
    with torch.no_grad():
        inside = aligned()
    assert torch.equal(inside.result.pixels, aligned().result.pixels)


def test_one_prompt_or_a_list_of_one():
    assert torch.equal(aligned("a").result.pixels, aligned(["a"]).result.pixels)


def test_the_baseline_is_plain_sampling_from_the_same_noise():
    done = aligned(method=Fixed())
    assert torch.equal(done.result.pixels, done.baseline.pixels)
    assert torch.equal(aligned().baseline.pixels, done.baseline.pixels)
    assert not torch.equal(aligned().result.pixels, done.baseline.pixels)


def test_the_result_is_the_methods_last_snapshot():
    with tta.prepare("a", backbone=GaussianMixture(), method=DATE(), reward=Likeness(), scheduler=vp_scheduler(4)) as prepared:
        *_, last = prepared.method.align(prepared.problem)
    assert torch.equal(aligned("a").result.pixels, last.images.clamp(0, 1))


def test_repetitions_of_a_prompt_differ_and_do_not_depend_on_neighbours():
    two = aligned(["a", "b", "a"]).baseline.pixels
    assert not torch.equal(two[0], two[2])
    torch.testing.assert_close(two[0], aligned("a").baseline.pixels[0])
    torch.testing.assert_close(two[[0, 2]], aligned(["a", "a"]).baseline.pixels)


def test_a_seed_for_each_prompt():
    both = aligned(["a", "b"], seed=[5, 6]).baseline.pixels
    torch.testing.assert_close(both[1], aligned("b", seed=6).baseline.pixels[0])


def test_given_latents_start_the_run():
    zero = aligned(latents=torch.zeros(1, 4, 4, 4), method=Fixed(), seed=1)
    assert torch.equal(zero.result.pixels, aligned(latents=torch.zeros(1, 4, 4, 4), method=Fixed(), seed=2).result.pixels)


def test_given_noises_are_used():
    rows = tuple(torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(row)) for row in range(5))
    first, second = (aligned(noises=tta.GivenNoise(rows), seed=seed).result.pixels for seed in (1, 2))
    assert torch.equal(first, second)


def test_given_embeddings_replace_the_encoding():
    backbone = GaussianMixture()
    other = backbone.encode(["a blue square"], 8, 8)
    expected = aligned("a blue square", method=Fixed()).result.pixels
    assert torch.equal(
        aligned(
            "ignored", text=other, method=Fixed(), noises=keyed_noises(("a blue square",), 0, (4, 4, 4), torch.device("cpu"))
        ).result.pixels,
        expected,
    )
    assert not torch.equal(aligned(null=other, method=Fixed()).result.pixels, aligned(method=Fixed()).result.pixels)


def test_given_embeddings_have_a_row_for_each_prompt():
    two = GaussianMixture().encode(["a", "b"], 8, 8)
    for given, message in (
        ({"text": two}, "text has 2 rows, but there are 1 prompts"),
        ({"null": two}, "null has 2 rows, but there are 1 prompts"),
        ({"noises": tta.GivenNoise((torch.zeros(1, 2, 4, 4, 4),) * 5)}, r"noises have the shape \(2, 4, 4, 4\), but .* \(1, 4, 4, 4\)"),
        ({"latents": torch.zeros(1, 4, 8, 8)}, r"latents have the shape \(1, 4, 8, 8\), but .* \(1, 4, 4, 4\)"),
    ):
        with pytest.raises(InputError, match=message):
            aligned("a", **given)


def test_a_negative_prompt_changes_the_image():
    assert not torch.equal(aligned(negative="blurry").baseline.pixels, aligned().baseline.pixels)


def test_ctrl_c_keeps_the_best_so_far():
    def interrupt(snapshot):
        if snapshot.index == 2:
            raise KeyboardInterrupt

    done = aligned(method=DATE(updates=Every(1)), observers=[interrupt])
    assert done.stopped == "interrupted at 3 of 4"
    assert len(done.trace) == 3
    assert torch.isfinite(done.result.pixels).all()
    assert len(done.scores) == 1


def test_memory_that_runs_out_before_the_run_gives_advice():
    @attrs.frozen
    class Greedy:
        tolerance = 0.0

        def __call__(self, setup):
            raise torch.OutOfMemoryError("full")

    with pytest.raises(OutOfMemoryError, match="before the run began"):
        aligned(memory=Greedy())


def test_the_best_estimate_of_each_sample_is_kept():
    @attrs.frozen
    class Wandering:
        needs = tta.Needs()

        def align(self, problem):
            for index, levels in enumerate(((0.1, 0.9), (0.5, 0.2), (0.3, 0.3), (0.0, 0.0))):
                x0 = torch.tensor(levels).view(2, 1, 1, 1).expand_as(problem.controls.noise[0])
                yield tta.Snapshot(index, 4, problem.controls, x0, problem.look(x0).scores)

    def interrupt(snapshot):
        if snapshot.index == 2:
            raise KeyboardInterrupt

    def brightness(images, prompts):
        return images.mean((1, 2, 3))

    done = aligned(["a", "b"], method=Wandering(), reward=brightness, observers=[interrupt])
    best = [max(row.scores[sample] for row in done.trace) for sample in range(2)]
    assert list(done.scores) == pytest.approx(best)
    assert done.trace[2].scores[0] < best[0]


def test_ctrl_c_before_the_first_snapshot_is_raised():
    @attrs.frozen
    class Slow(Fixed):
        def align(self, problem):
            raise KeyboardInterrupt
            yield

    with pytest.raises(KeyboardInterrupt):
        aligned(method=Slow())


def test_a_budget_stops_at_the_first_snapshot_beyond():
    done = aligned(method=BestOfN(5), budget=tta.Budget(evaluations=20))
    assert done.stopped == "budget of 20 evaluations spent"
    assert len(done.trace) == 3  # 8 evaluations a sample: 4 steps, 2 branches
    assert done.trace[-1].index == 2
    assert aligned(method=BestOfN(2), budget=tta.Budget(evaluations=1000)).stopped == ""
    assert aligned(method=BestOfN(1), budget=tta.Budget(seconds=1e-9)).stopped == "", "its only snapshot is its last"
    assert aligned(method=BestOfN(5), budget=tta.Budget(seconds=1e-9)).stopped == "budget of 1e-09 s spent"


def test_an_error_in_a_reward_is_not_swallowed():
    calls = []

    def failing(images, prompts):
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("out of cheese")
        return images.mean((1, 2, 3))

    with pytest.raises(RewardError, match=r"failing .*out of cheese"):
        aligned(reward=failing, method=BestOfN(8))


def test_settings_that_a_ready_scheduler_would_ignore_are_refused():
    for setting in ({"steps": 20}, {"eta": 0.5}):
        with pytest.raises(InputError, match="scheduler"):
            aligned(**setting)


def test_an_observer_cannot_change_the_result():
    def rewrites(snapshot):
        for tensor in (snapshot.x0, snapshot.scores, *snapshot.gradient):
            if tensor is not None:
                tensor.fill_(99.0)

    plain, watched = aligned(), aligned(observers=[rewrites])
    assert torch.equal(plain.result.pixels, watched.result.pixels)
    assert plain.record()["trace"][-1]["scores"] == watched.record()["trace"][-1]["scores"]


def test_an_observer_that_changes_the_controls_ends_the_run():
    def rewrites(snapshot):
        snapshot.controls.noise.mul_(0)

    with pytest.raises(InputError, match=r"changed the controls .* in place") as found:
        aligned(["a", "b"], observers=[rewrites])  # several prompts, which are not run again with the changed controls
    assert found.value.partial is not None


def test_given_noises_that_no_step_uses_give_a_warning():
    rows = (torch.zeros(1, 1, 4, 4, 4),) * 5
    with pytest.warns(UserWarning, match="5 rows of noise are given, but the sampler is deterministic"):
        aligned(noises=tta.GivenNoise(rows), scheduler=vp_scheduler(4, 0.0))
    with pytest.warns(UserWarning, match="5 rows of noise are given, but a run of 3 steps uses 4"):
        aligned(noises=tta.GivenNoise(rows), scheduler=vp_scheduler(3, 1.0))
