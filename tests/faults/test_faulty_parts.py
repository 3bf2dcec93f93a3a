"""Faults in reward, backbone, method, observer and hook: each gives an error of one sentence, and the best result so far is kept."""

import itertools
import signal
import warnings

import pytest
import torch
from faulty import FAULTS, BrokenError, FailsAt, Yields, aligned, brightness

import tta_core as tta
from tta_core import hookimpl
from tta_core.errors import NotFiniteError, OutOfMemoryError, RewardError, RunError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.testing import GaussianMixture

LATE, EARLY = 7, 0


def kept(error):
    """Checks that the partial result is a complete `Alignment`."""
    partial = error.partial
    assert isinstance(partial, tta.Alignment)
    assert torch.isfinite(partial.result.pixels).all()
    assert len(partial.trace) >= 1
    assert "failed" in partial.stopped
    return partial


WITHOUT_MEMORY = [fault for fault in FAULTS if fault != "memory"]  # its message has a forecast, which takes seconds


@pytest.mark.parametrize(("at", "fault"), [*itertools.product(range(8), WITHOUT_MEMORY), (0, "memory"), (7, "memory")])
def test_a_reward_that_fails_once(fault, at, count):
    count("tried")
    reward = FailsAt(brightness, at, FAULTS[fault])
    with pytest.raises((RewardError, OutOfMemoryError)) as caught:
        aligned(reward=reward)
    if at >= 5:  # the trials, the baseline and the first look-ahead are before the first snapshot
        kept(caught.value)
    count("survived")


@pytest.mark.parametrize(("at", "fault"), [*itertools.product([0, 9, 14], WITHOUT_MEMORY), (14, "memory")])
def test_a_denoiser_that_fails_once(fault, at, count):
    count("tried")
    good = GaussianMixture()
    with pytest.raises(TTAError) as caught:
        aligned(backbone=WrappedBackbone(good, predicting=FailsAt(good.predict, at, FAULTS[fault])))
    if at > 9:
        kept(caught.value)
    count("survived")


@pytest.mark.parametrize("at", [2, 5, 6, 7])
def test_a_decoder_that_gives_nan_or_raises(at, count):
    count("tried")
    good = GaussianMixture()
    with pytest.raises(TTAError) as caught:
        aligned(backbone=WrappedBackbone(good, decoding=FailsAt(good.decode, at, lambda: BrokenError("no decoder"))))
    assert "GaussianMixture" in str(caught.value)
    count("survived")


RUBBISH = {
    "none": None,
    "text": "snapshot",
    "class": tta.Snapshot,
    "other rows": lambda problem: tta.Snapshot(2, 4, problem.controls, problem.controls.noise[0].repeat(3, 1, 1, 1)),
    "nan": lambda problem: tta.Snapshot(2, 4, problem.controls, problem.controls.noise[0] * float("nan")),
    "wrong shape": lambda problem: tta.Snapshot(2, 4, problem.controls, problem.controls.noise),
    "raises": lambda problem: 1 / 0,
}


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_a_method_that_yields_invalid_snapshots(rubbish, count):
    count("tried")
    with pytest.raises(TTAError) as caught:
        aligned(method=Yields(RUBBISH[rubbish]))
    assert len(kept(caught.value).trace) == 2
    count("survived")


def test_a_method_without_a_snapshot_is_named(count):
    class Silent(Yields):
        def align(self, problem):
            yield from ()

    count("tried")
    with pytest.raises(RunError, match=r"Silent .*yielded no snapshot"):
        aligned(method=Silent())
    count("survived")


def test_the_partial_result_has_the_best_so_far():
    levels = iter((0.2, 0.9, 0.4))

    def level(problem):
        return torch.full_like(problem.controls.noise[0], next(levels))

    class Wandering(Yields):
        def align(self, problem):
            for index in range(3):
                x0 = level(problem)
                yield tta.Snapshot(index, 9, problem.controls, x0, problem.look(x0).scores)
            raise BrokenError

    with pytest.raises(RunError) as caught:
        aligned(method=Wandering())
    partial = kept(caught.value)
    assert partial.scores[0] == pytest.approx(max(row.scores[0] for row in partial.trace))
    assert isinstance(caught.value.__cause__, BrokenError)


@pytest.mark.parametrize("fault", ["exception", "exit", "assertion"])
def test_an_observer_that_raises_is_named_once_and_left_out(fault, count):
    count("tried")
    calls, seen = [], []

    def falling(snapshot):
        calls.append(snapshot)
        raise FAULTS[fault]()

    with pytest.warns(UserWarning, match=r"The observer falling .*is not called again") as noted:
        done = aligned(observers=[falling, seen.append])
    assert len(calls) == len([one for one in noted if "falling" in str(one.message)]) == 1
    assert len(seen) == len(done.trace)
    assert torch.equal(done.result.pixels, aligned().result.pixels)
    count("survived")


@pytest.mark.parametrize("hook", ["tta_run_started", "tta_snapshot", "tta_run_finished"])
@pytest.mark.parametrize("fault", [*FAULTS, "interrupt"])
def test_a_hook_that_raises_is_named_and_the_others_are_called(hook, fault, count):
    count("tried")
    argument = {"tta_run_started": "problem", "tta_snapshot": "snapshot", "tta_run_finished": "alignment"}[hook]
    raising = {**FAULTS, "interrupt": lambda: KeyboardInterrupt()}[fault]
    scope, told = {"raising": raising, "told": []}, []
    exec(f"class Bad:\n  def {hook}(self, {argument}): raise raising()\nclass Good:\n  def {hook}(self, {argument}): told.append(1)", scope)
    scope["told"] = told
    bad, good = scope["Bad"], scope["Good"]
    for cls in (bad, good):
        setattr(cls, hook, hookimpl(getattr(cls, hook)))
    hooks, one, two = plugins().hooks, bad(), good()
    hooks.register(two, name="good")
    hooks.register(one, name="bad-plugin")
    try:
        with pytest.warns(UserWarning, match=rf"The hook {hook} of the plugin bad-plugin raised"):
            done = aligned()
    finally:
        hooks.unregister(one)
        hooks.unregister(two)
    assert len(told) == (len(done.trace) if hook == "tta_snapshot" else 1)
    count("survived")


@pytest.mark.parametrize(
    ("networks", "culprit"),
    [
        ({"denoiser": float("nan")}, "The weights of its denoiser hold a NaN"),
        ({"decoder": 1.0}, "its decoder gives NaN by itself"),
        ({"decoder": torch.tensor(1.0, dtype=torch.float16)}, "Its decoder compute in half precision"),
    ],
    ids=["parameters", "decoder", "half"],
)
def test_images_that_are_not_finite_give_an_error_that_names_the_cause(networks, culprit, count):
    class Sick(WrappedBackbone):
        @property
        def networks(self):
            made = {}
            for role, value in networks.items():
                made[role] = torch.nn.Linear(1, 1, dtype=torch.as_tensor(value).dtype)
                torch.nn.init.constant_(made[role].weight, float(value))
            return made

    count("tried")
    good = GaussianMixture()
    with pytest.raises(NotFiniteError, match=culprit):
        aligned(backbone=Sick(good, decoding=lambda x0: good.decode(x0) * float("nan")))
    count("survived")


class Decoding:
    """Decodes, and simulates Ctrl-C so many times, from the given call on."""

    def __init__(self, decode, at, times):
        self.decode, self.at, self.times, self.calls = decode, at, times, 0

    def __call__(self, x0):
        self.calls += 1
        if self.at < self.calls <= self.at + self.times:
            raise KeyboardInterrupt
        return self.decode(x0)


def decodes_of_a_run(**changes):
    counting = Decoding(GaussianMixture().decode, 0, 0)
    aligned(backbone=WrappedBackbone(GaussianMixture(), decoding=counting), **changes)
    return counting.calls


@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_while_the_result_is_decoded(times, count):
    count("tried")
    budget = {"budget": tta.Budget(evaluations=1)}  # the result of a run that was stopped early still has to be decoded
    good, at = GaussianMixture(), decodes_of_a_run(**budget) - 1
    done = aligned(backbone=WrappedBackbone(good, decoding=Decoding(good.decode, at, times)), **budget)
    assert done.interrupted
    assert len(done.trace) == 1
    if times == 1:
        assert "its score is the one of its snapshot" in done.stopped
        assert done.scores[0] == pytest.approx(done.trace[0].scores[0])
    else:
        assert "the result is the baseline" in done.stopped
        assert torch.equal(done.result.pixels, done.baseline.pixels)
    count("survived")


@pytest.mark.parametrize("back", [1, 2])
def test_ctrl_c_while_the_result_is_scored(back, count):
    count("tried")
    calls = []

    def counting(images, prompts):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return brightness(images, prompts)

    at = 0
    aligned(reward=counting)
    at, done = len(calls) + 1 - back, None
    calls.clear()
    done = aligned(reward=counting)
    assert done.interrupted
    assert "interrupted at" in done.stopped
    assert done.scores[0] == pytest.approx(max(row.scores[0] for row in done.trace))
    count("survived")


def test_ctrl_c_while_the_hook_run_finished_is_called(count):
    class Slow:
        @hookimpl
        def tta_run_finished(self, alignment):
            signal.raise_signal(signal.SIGINT)

    count("tried")
    hooks, slow = plugins().hooks, Slow()
    hooks.register(slow, name="slow")
    try:
        done = aligned()
    finally:
        hooks.unregister(slow)
    assert done.interrupted
    assert torch.equal(done.result.pixels, aligned().result.pixels)
    count("survived")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("watcher", ["observer", "hook"])
def test_a_signal_inside_an_observer_stops_the_run_and_is_not_reported_as_its_error(number, watcher, count):
    """As on the command line, where a signal handler raises a KeyboardInterrupt."""

    class Slow:
        @hookimpl
        def tta_snapshot(self, snapshot):
            signal.raise_signal(number)

    def stop(*_):
        raise KeyboardInterrupt

    count("tried")
    hooks, slow, before = plugins().hooks, Slow(), signal.signal(number, stop)
    if watcher == "hook":
        hooks.register(slow, name="slow")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            done = aligned(observers=[slow.tta_snapshot] if watcher == "observer" else [])
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
        if watcher == "hook":
            hooks.unregister(slow)
    assert done.interrupted
    assert done.stopped == "interrupted at 1 of 4"
    count("survived")
