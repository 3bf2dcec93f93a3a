"""`tta studio` without a browser: its runs equal those of `tta align`, run one after another, and each can be stopped."""

import io
import json
import threading
import zipfile

import attrs
import pytest

from tta_core.errors import InputError
from tta_core.plugins.discovery import plugins
from tta_plugins.cli.structure import construct
from tta_plugins.studio.controls import Control, controls_of, documented
from tta_plugins.studio.history import read, runs_in
from tta_plugins.studio.job import Job
from tta_plugins.studio.request import Request, request_of
from tta_plugins.studio.studio import Studio

QUICK = {"method": "greedy", "reward": "edges", "backbone": "colours"}  # each is a third party's
OPTIONS = [word for name, value in QUICK.items() for word in (f"--{name}", value)]


@pytest.fixture
def studio(site, tmp_path):
    made = Studio(tmp_path / "runs")
    yield made
    made.close()


def timeless(folder):
    """A record without the seconds, which differ between runs."""
    record = json.loads((folder / "run.json").read_text())
    record["cost"].pop("seconds")
    record["cost"].pop("phases", None)
    for row in record["trace"]:
        row.pop("seconds")
    return record


def test_a_run_equals_that_of_tta_align(studio, tta, tmp_path):
    setting, alone = "method.rho=0.7", tmp_path / "alone"
    result = tta("align", "a red circle", "--steps", 3, "--seed", 4, "--set", setting, "--out", alone)
    assert result.exit_code == 0, result.output
    *_, last = studio.run(Request("a red circle", steps=3, seed=4, settings=(setting,)))
    assert (last.phase, last.message) == ("saved", "")
    assert {path.name for path in last.folder.iterdir()} == {path.name for path in alone.iterdir()}
    assert timeless(last.folder) == timeless(alone)
    for image in alone.glob("*.png"):
        assert (last.folder / image.name).read_bytes() == image.read_bytes()


def test_states_during_a_run(studio, monkeypatch):
    states, watch = [], Job.watch

    def followed(job, backbone, snapshot):
        watch(job, backbone, snapshot)
        assert _until(lambda: states and states[-1] is job.state)  # a reader that is slow gets only the latest state

    monkeypatch.setattr(Job, "watch", followed)
    states.extend(studio.run(Request("one", steps=4, **QUICK)))
    *_, running, last = states
    assert [state.over for state in states] == [False] * (len(states) - 1) + [True]
    assert (running.phase, running.done, running.total) == ("running", 4, 4)
    assert running.look_ahead.size == (16, 16)
    record = json.loads((last.folder / "run.json").read_text())
    scored = [(place, row["scores"][0]) for place, row in enumerate(record["trace"], 1) if row["scores"]]
    for rewards in (last.rewards, read(last.folder).rewards):
        assert [place for place, _ in rewards] == [place for place, _ in scored]
        assert [reward for _, reward in rewards] == pytest.approx([reward for _, reward in scored])


def test_stop_keeps_the_best_so_far(studio, monkeypatch):
    watch = Job.watch

    def stopping(job, backbone, snapshot):
        watch(job, backbone, snapshot)
        if job.state.done == 2:
            studio.stop(job.number)

    monkeypatch.setattr(Job, "watch", stopping)
    *_, last = studio.run(Request("one", steps=9, **QUICK))
    assert (last.phase, last.message) == ("saved", "interrupted at 2 of 9; the best so far was saved.")
    record = json.loads((last.folder / "run.json").read_text())
    assert record["scores"][0] >= max(row["scores"][0] for row in record["trace"] if row["scores"]) - 1e-6


def test_runs_wait_for_each_other_and_can_be_stopped_before_they_begin(studio, monkeypatch):
    begun, free, watch = threading.Event(), threading.Event(), Job.watch

    def waiting(job, backbone, snapshot):
        begun.set()
        assert free.wait(600)
        watch(job, backbone, snapshot)

    monkeypatch.setattr(Job, "watch", waiting)
    first, second, third = (studio.submit(Request(prompt, steps=2, **QUICK)) for prompt in ("one", "two", "three"))
    assert begun.wait(600)
    assert [job.state.ahead for job in (first, second, third)] == [0, 1, 2]
    assert studio.current is first
    studio.stop(second.number)
    free.set()
    ends = [list(job.changes())[-1] for job in (first, second, third)]
    assert [state.phase for state in ends] == ["saved", "failed", "saved"]
    assert ends[1].message == "Stopped before it began, so there is nothing to save."
    assert ends[0].folder != ends[2].folder
    assert [past.prompt for past in runs_in(studio.folder)] == ["three", "one"]


def test_closing_saves_the_best_so_far(site, tmp_path, monkeypatch):
    closing, watch = Studio(tmp_path / "runs"), Job.watch
    begun = threading.Event()

    def noticed(job, backbone, snapshot):
        begun.set()
        watch(job, backbone, snapshot)
        if snapshot.index == 1:
            assert _until(lambda: job.stopped)

    monkeypatch.setattr(Job, "watch", noticed)
    job = closing.submit(Request("one", steps=9, **QUICK))
    assert begun.wait(600)
    closing.close()
    assert job.state.phase == "saved"
    assert "interrupted" in job.state.message


def _until(true, patience=600):
    return any(true() or threading.Event().wait(0.01) for _ in range(patience * 100))


WRONG = [
    ({"settings": ("method.size=word",)}, ("--set", "method.size=word")),
    ({"settings": ("method.sise=1",)}, ("--set", "method.sise=1")),
    ({"settings": ("nonsense",)}, ("--set", "nonsense")),
    ({"reward": "edgse"}, ("--reward", "edgse")),
    ({"steps": 0}, ("--steps", 0)),
    ({"budget_seconds": -1.0}, ("--budget-seconds", -1.0)),
]


@pytest.mark.parametrize(("wrong", "options"), WRONG)
def test_errors_have_the_messages_of_tta_align(studio, tta, tmp_path, wrong, options):
    *_, last = studio.run(Request("one", **{**QUICK, "steps": 2, **wrong}))
    said = tta("align", "one", *OPTIONS, "--steps", 2, *options, "--out", tmp_path / "alone")
    assert (last.phase, said.exit_code) == ("failed", 1)
    assert f"tta: {last.message}\n" == said.stderr
    assert runs_in(studio.folder) == []


def test_no_run_starts_with_the_settings_of_another_method():
    given = {field.name: "" for field in attrs.fields(Request)}
    given |= {"method": "dno", "memory": [], "seconds": "", "evaluations": ""}
    assert request_of(given, [], [], "dno").method == "dno"
    with pytest.raises(InputError, match="The settings of dno are not loaded yet, so the run did not start"):
        request_of(given, [], [], "date")


def test_no_prompt_is_refused(studio):
    *_, last = studio.run(Request("  ", **QUICK))
    assert last.message.startswith("There is no prompt.")


def test_a_failed_run_does_not_stop_the_next_whose_folder_is_zipped(studio):
    list(studio.run(Request("one", **{**QUICK, "reward": "nothing"})))
    *_, last = studio.run(Request("one", steps=2, **QUICK))
    assert last.phase == "saved"
    with zipfile.ZipFile(io.BytesIO(read(last.folder).zipped())) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == {f"run/{path.name}" for path in last.folder.iterdir()}


def test_third_party_settings_are_shown_automatically(site):
    boxes = {control.name: control for control in controls_of(plugins().registry.find("methods", "greedy"))}
    assert boxes["size"].kind == "number"
    assert boxes["size"].default == 0.05
    assert boxes["size"].about
    assert "TextEmbedding(pooled=False)" in boxes["variable"].choices
    assert boxes["size"].written(0.05) is None
    assert boxes["size"].written(0.25) == "0.25"


@pytest.mark.parametrize("name", [entry.name for entry in plugins().registry.entries("methods")])
def test_each_box_gives_the_values_that_set_takes(name):
    entry = plugins().registry.find("methods", name)
    plain = repr(construct(entry, {}))
    for control in controls_of(entry):
        assert control.written(control.default) is None
        assert repr(construct(entry, {control.name: str(control.default)})) == plain


def test_whole_numbers_come_from_the_browser_as_floats():
    assert Control("n", "whole", 4).written(6.0) == "6"
    assert Control("n", "whole", 4).written(2.5) == "2.5"
    assert Control("n", "whole", 4).written(None) is None


def test_a_docstring_describes_each_setting():
    said = documented("Title.\n\nAttributes:\n    one, two: of both\n        and more.\n    three (int): alone.\n\nSource: nothing.")
    assert said == {"one": "of both and more.", "two": "of both and more.", "three": "alone."}


def test_without_the_extra_the_message_says_how_to_install_it(tta, monkeypatch):
    monkeypatch.setattr("tta_plugins.studio.command.find_spec", lambda name: None)
    result = tta("studio")
    assert result.exit_code == 1
    assert "pip install 'tta-align[studio]'" in result.stderr
