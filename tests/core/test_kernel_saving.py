"""`Alignment.save` writes complete files, one run per folder, and loses nothing to a full disk or a signal."""

import json
import math
import os
import signal
import subprocess

import pytest

import tta_core as tta
from tta_core.errors import InputError, SaveError
from tta_core.running import atomic_files
from tta_core.running.folder import fresh, image_names, vacant
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_core.values import strict_json
from tta_core.values.typing import evolve
from tta_plugins.methods.date import DATE

FILES = ["aligned.png", "baseline.png", "grid.png", "run.json"]


def aligned(prompts="a red circle", **changes):
    settings = {"backbone": GaussianMixture(), "method": DATE(), "reward": Likeness(), "scheduler": vp_scheduler(4)}
    return tta.align(prompts, **{**settings, **changes})


@pytest.fixture(scope="module")
def done():
    return aligned()


@pytest.fixture(scope="module")
def other():
    return aligned("another prompt", seed=5)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_on(monkeypatch, *failing):
    """Simulates a disk that has no room for these files."""
    write = atomic_files.os.fsync

    def fsync(handle):
        name = os.readlink(f"/proc/self/fd/{handle}")
        if any(f".{one}." in name for one in failing):
            raise OSError(28, "No space left on device")
        write(handle)

    monkeypatch.setattr(atomic_files.os, "fsync", fsync)


def test_a_full_disk_keeps_the_files_that_fit_and_names_the_others(done, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        fail_on(patched, "grid.png")
        with pytest.raises(SaveError, match=r"Cannot write grid.png to .*No space left on device. Written: run.json, aligned.png"):
            done.save(tmp_path)
        assert names(tmp_path) == ["aligned.png", "baseline.png", "run.json"]
    assert done.save(tmp_path) == tmp_path  # the same run is saved again after space was freed
    assert names(tmp_path) == FILES


def test_the_files_of_another_run_are_not_mixed_or_lost(done, other, tmp_path):
    done.save(tmp_path / "run")
    with pytest.warns(UserWarning, match="holds the results of another run"):
        folder = other.save(tmp_path / "run")
    assert folder == tmp_path / "run-2"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["prompts"] == ["a red circle"]
    assert json.loads((folder / "run.json").read_text())["prompts"] == ["another prompt"]


def test_overwriting_removes_all_files_of_the_other_run(done, tmp_path):
    aligned(["a", "b"]).save(tmp_path)
    (tmp_path / "notes.txt").touch()
    done.save(tmp_path, overwrite=True)
    assert names(tmp_path) == sorted([*FILES, "notes.txt"])


@pytest.mark.parametrize("name", FILES)
def test_an_unusable_folder_is_found_before_the_run_and_loses_nothing_after_it(done, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{name} is a folder there"):
        fresh(tmp_path / "run", overwrite=True)
    with pytest.warns(UserWarning, match="run-2"):
        assert names(done.save(tmp_path / "run", overwrite=True)) == FILES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_all_is_saved(done, tmp_path, monkeypatch, number):
    replace, came = os.replace, []

    def interrupted(*arguments):
        signal.raise_signal(number)
        replace(*arguments)

    monkeypatch.setattr("pathlib.Path.replace", lambda path, target: interrupted(path, target))
    before = signal.signal(number, lambda *_: came.append(names(tmp_path)))
    try:
        done.save(tmp_path)
    finally:
        signal.signal(number, before)
    assert came == [FILES]


def test_files_of_a_killed_process_are_removed_by_the_next_run(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".run.json.{ended.pid}.0123abcd-7f.tta-part"
    reused = tmp_path / f".run.json.{os.getpid()}.0123abcd-7f.tta-part"
    running = tmp_path / f".run.json.{os.getppid()}.0123abcd-7f.tta-part"
    for path in (left, reused, running):
        path.touch()
    fresh(tmp_path)
    assert list(tmp_path.iterdir()) == [running]


@pytest.mark.parametrize(("samples", "last"), [(2, "aligned-01.png"), (100, "aligned-99.png"), (101, "aligned-100.png")])
def test_file_names_sort_in_the_order_of_the_samples(samples, last):
    made = image_names("aligned", samples)
    assert made == sorted(made)
    assert made[-1] == last


def test_the_next_free_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(vacant("out")) == "out"
    for name in ("out", "out-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
    assert str(vacant("out")) == "out-3"


def refusing(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_the_record_is_strict_json(done, tmp_path):
    manifest = {**done.manifest, "limit": math.inf, "rate": -math.inf, "odd": math.nan, "half": "\udcff", 3: {1, 2}, "path": tmp_path}
    folder = evolve(done, manifest=manifest).save(tmp_path)
    read = json.loads((folder / "run.json").read_bytes(), parse_constant=refusing)["manifest"]
    assert (read["limit"], read["rate"], read["odd"]) == ("inf", "-inf", "nan")
    assert (float(read["limit"]), read["half"], read["3"], read["path"]) == (math.inf, "\\udcff", [1, 2], str(tmp_path))


def test_numbers_and_texts_are_not_changed():
    value = {"a": [1, 2.5, True, None, "\u2028é"], "b": {"c": 10**400}}
    assert json.loads(strict_json.dumps(value)) == value
    assert strict_json.dumps(value).isascii()
