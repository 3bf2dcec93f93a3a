"""Third-party objects that raise in unusual places: a repr, an exception's text, a property, a clean-up."""

import contextlib
import pickle
import subprocess
import sys
import threading

import attrs
import pytest
import torch
from faulty import Yields, aligned, brightness

import tta_core as tta
from tta_core.errors import InputError, LoadError, RewardError, RunError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.testing import GaussianMixture
from tta_plugins.methods.baselines import BestOfN


class SilentError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class OwnError(BaseException):
    pass


FAULTS = {"without text": SilentError, "no Exception": OwnError, "generator exit": GeneratorExit, "stop": StopIteration}


def raises_late(fault, at=7):
    calls = []

    def reward(images, prompts):
        calls.append(1)
        if len(calls) == at:
            raise fault
        return brightness(images, prompts)

    return reward


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_reward_raises(fault, count):
    count("tried")
    with pytest.raises(RewardError, match=FAULTS[fault].__name__) as caught:
        aligned(reward=raises_late(FAULTS[fault]))
    assert caught.value.partial.trace
    count("survived")


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_method_raises(fault, count):
    def rubbish(problem):
        raise FAULTS[fault]

    count("tried")
    with pytest.raises(RunError) as caught:
        aligned(method=Yields(rubbish))
    assert len(caught.value.partial.trace) == 2
    count("survived")


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_an_observer_raises(fault, count):
    def observer(snapshot):
        raise FAULTS[fault]

    count("tried")
    with pytest.warns(UserWarning, match=f"The observer observer .*raised {FAULTS[fault].__name__}"):
        assert not aligned(observers=[observer]).stopped
    count("survived")


class Unprintable:
    tolerance = 0.0
    needs = tta.Needs()

    def __repr__(self):
        raise RuntimeError("no repr")

    def __call__(self, *given):
        return given[0] if len(given) == 1 else brightness(*given)

    def align(self, problem):
        yield problem.result(1, problem.controls, problem.sample(problem.controls))


@pytest.mark.parametrize("part", ["reward", "memory", "method"])
def test_a_part_whose_repr_raises_loses_no_result(part, count, tmp_path):
    count("tried")
    done = aligned(**{part: Unprintable()})
    assert "a Unprintable whose repr raises RuntimeError" in str(done.manifest[part])
    done.save(tmp_path)
    count("survived")


def broken(cls=object, **properties):
    """An object whose properties with these names raise, or have these values."""

    def raising(self):
        raise RuntimeError("no property")

    found = {name: property(raising) if value is RuntimeError else value for name, value in properties.items()}
    return type("Stranger", (cls,), {"__call__": lambda self, images, prompts: brightness(images, prompts), **found})()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reward": broken(card=RuntimeError)}, "no property"),
        ({"reward": broken(card=None)}, "Stranger .*has the card None"),
        ({"reward": broken(networks=[1])}, r"Stranger .*has the networks \[1\]"),
        ({"reward": broken(networks={"a": 1})}, "Stranger .*has the networks"),
        ({"method": broken(needs=RuntimeError, align=len)}, "no property"),
        ({"method": broken(needs=tta.Needs, align=len)}, "Stranger .*has the needs"),
        ({"method": broken(needs=tta.Needs(), align=lambda self, problem: 5)}, "Stranger .*returned 5 from align"),
        ({"backbone": broken(GaussianMixture, defaults=RuntimeError)}, "no property"),
        ({"memory": broken(tolerance=0.0, __call__=lambda self, setup: None)}, "Stranger .*returned None"),
    ],
)
def test_properties_that_raise_are_reported_with_their_line(changes, said, count):
    count("tried")
    with pytest.raises(TTAError, match=said):
        aligned(**changes)
    count("survived")


def test_a_policy_that_cannot_be_undone_loses_no_result(count):
    @attrs.frozen
    class Sticky:
        tolerance = 0.0

        def __call__(self, setup):
            setup.undo.callback(lambda: 1 / 0)
            return setup

    count("tried")
    with pytest.raises(RunError, match=r"could not be undone: ZeroDivisionError.*`partial`") as caught:
        aligned(memory=Sticky())
    assert torch.equal(caught.value.partial.result.pixels, aligned().result.pixels)
    count("survived")


def test_a_reward_that_disables_gradients_affects_only_itself(count):
    def switching(images, prompts):
        scores = brightness(images, prompts)
        torch.set_grad_enabled(False)
        return scores

    count("tried")
    assert torch.equal(aligned(reward=switching).result.pixels, aligned().result.pixels)
    assert torch.is_grad_enabled()
    count("survived")


@pytest.mark.parametrize("wrong", [None, 5, b"bytes", ["a"], 2.5])
def test_objects_that_are_not_paths_are_refused(wrong, count):
    count("tried")
    done = aligned(method=BestOfN(1))
    for call in (done.save, done.report):
        with pytest.raises(InputError, match="takes a path"):
            call(wrong)
    with pytest.raises(InputError, match="enlarge"):
        done.grid("a")
    count("survived")


@pytest.mark.parametrize("prompt", ["a\0b", "\x1b[31m red", "x" * 10**6], ids=["nul", "escape", "long"])
def test_prompts_of_any_characters_are_saved_and_shown(prompt, tmp_path, count):
    count("tried")
    done = aligned(prompt)
    done.save(tmp_path)
    done.report(tmp_path / "report.html")
    assert prompt[:3] in done._repr_html_()
    count("survived")


def test_results_and_errors_can_be_pickled(count):
    count("tried")
    done = pickle.loads(pickle.dumps(aligned()))
    assert done.scores == aligned().scores
    with pytest.raises(RewardError) as caught:
        aligned(reward=raises_late(ValueError))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.partial.scores == caught.value.partial.scores
    count("survived")


@pytest.mark.parametrize("target", ["nowhere", "itself", "file"])
def test_links_to_missing_folders(target, tmp_path, count):
    count("tried")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / {"itself": "link"}.get(target, target))
    with contextlib.suppress(InputError):
        aligned().save(tmp_path / "link" / "out")
    assert (tmp_path / "file").read_text() == "mine"
    count("survived")


def test_a_result_saved_over_a_link_leaves_its_target(tmp_path, count):
    count("tried")
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").symlink_to(tmp_path / "notes")
    aligned().save(tmp_path / "out", overwrite=True)
    assert (tmp_path / "notes").read_text() == "mine"
    assert not (tmp_path / "out" / "run.json").is_symlink()
    count("survived")


def test_a_run_in_a_thread_may_be_saved_there(tmp_path, count):
    count("tried")
    thread = threading.Thread(target=lambda: aligned().save(tmp_path / "out"))
    thread.start()
    thread.join()
    assert (tmp_path / "out" / "run.json").exists()
    count("survived")


@pytest.mark.slow
def test_a_forked_process_runs_too(count):
    count("tried")
    source = (
        "import os, torch; torch.set_num_threads(1); import tta_core as tta; from tta_core.testing import GaussianMixture, vp_scheduler\n"
        "def run():\n    return tta.align('a', backbone=GaussianMixture(), scheduler=vp_scheduler(2), method='fixed',"
        " reward=lambda i, p: i.mean((1, 2, 3))).scores[0]\n"
        "expected = run(); child = os.fork()\nif not child: os._exit(run() != expected)\nassert os.waitpid(child, 0)[1] == 0"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    count("survived")


class Hooks:
    """A plugin that does this in every hook."""

    def __init__(self, act):
        self.act = act

    @tta.hookimpl
    def tta_snapshot(self, snapshot):
        self.act(snapshot)

    @tta.hookimpl
    def tta_run_finished(self, alignment):
        self.act(alignment)

    @tta.hookimpl(tryfirst=True)
    def tta_page(self, alignment):
        return self.act(alignment)


@pytest.fixture
def plugged():
    hooks = plugins().hooks
    yield lambda act: hooks.register(Hooks(act), name="stranger")
    hooks.unregister(name="stranger")


def test_an_observer_that_changes_torchs_state_does_not_affect_the_run(plugged, count):
    def switch(_):
        torch.set_grad_enabled(False)

    count("tried")
    expected = aligned().result.pixels
    plugged(switch)
    assert torch.equal(aligned(observers=[switch]).result.pixels, expected)
    assert torch.is_grad_enabled()
    count("survived")


def test_a_plugin_that_empties_the_record_loses_no_result(plugged, count):
    count("tried")
    expected = aligned().result.pixels
    plugged(lambda thing: thing.manifest.clear() if isinstance(thing, tta.Alignment) else None)
    assert torch.equal(aligned().result.pixels, expected)
    count("survived")


@pytest.mark.parametrize("fault", [*FAULTS.values(), SystemExit, KeyboardInterrupt, None])
def test_a_page_that_raises_gives_an_error_of_one_sentence(plugged, fault, tmp_path, count):
    def act(_):
        if fault is not None:
            raise fault
        return 5

    count("tried")
    done = aligned(method=BestOfN(1))
    plugged(act)
    with pytest.raises(LoadError, match="A plugin's page"):
        done.report(tmp_path / "page.html")
    count("survived")
