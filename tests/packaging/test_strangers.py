"""A package that `tta new` writes can be installed, is found, works, passes its own tests, and works beside a broken package."""

import ast
import json
import re
from pathlib import Path

import pytest

from tta_plugins.cli.new import KINDS as NEW
from tta_plugins.cli.new import rendered

KINDS = {"edges": "reward", "greedy": "method", "colours": "backbone", "closer": "sampler", "sliced": "policy"}


def test_the_inherited_suites_pass_as_written(strangers):
    folders = [strangers.sources / f"tta-{name}" for name in KINDS]
    few = ("-p", "tta_core.testing.profiles", "--hypothesis-profile=fast")
    finished = strangers.run("-m", "pytest", "-v", "-p", "no:cacheprovider", *few, "--rootdir", strangers.sources, *folders)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for name in KINDS:
        assert len(re.findall(rf"test_tta_{name}\.py::\S+ .*PASSED", finished.stdout)) > 5


def test_another_process_finds_them(strangers):
    doctor = strangers.run("-m", "tta_plugins.cli", "doctor", "--no-load", TTA_PLUGINS_BLOCK="tta-broken")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "blocked  broken (tta-broken 0.1.0)" in doctor.stdout
    for name in KINDS:
        assert f"ok       {name} (tta-{name} 0.1.0): {name}" in doctor.stdout


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_it_is_listed_with_its_package(tta, name, kind):
    rows = json.loads(tta("list", NEW[kind], "--json").stdout)
    mine = next(row for row in rows if row["name"] == name)
    assert f"(tta-{name} 0.1.0)" in mine["plugin"]


def test_they_work_together_from_the_command_line(tta, tmp_path):
    parts = ("--backbone", "colours", "--method", "greedy", "--reward", "edges", "--memory", "sliced")
    arguments = (*parts, "--steps", 3, "--out", tmp_path)
    result = tta("align", "a red circle", *arguments)
    assert result.exit_code == 0, result.output
    versions = json.loads((tmp_path / "run.json").read_text())["manifest"]["versions"]
    used = ("edges", "greedy", "colours")
    assert {name: versions[f"tta-{name}"] for name in used} == dict.fromkeys(used, "0.1.0")


def test_a_reward_and_a_sampler_work_on_the_embedded_model(tta, tmp_path):
    parts = ("--reward", "edges", "--method", "date", "--scheduler", "closer")
    result = tta("align", "a red circle", *parts, "--steps", 5, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["scores"][0] > record["baseline_scores"][0]


def test_a_package_that_cannot_be_imported_is_named_and_does_not_affect_others(tta):
    doctor = tta("doctor", "--no-load")
    assert doctor.exit_code == 1
    line = next(line for line in doctor.stdout.splitlines() if line.startswith("broken"))
    assert line.split()[1:4] == ["broken", "(tta-broken", "0.1.0):"]
    assert "No module named 'a_library_nobody_has'" in line
    assert sum(line.startswith("ok") for line in doctor.stdout.splitlines()) >= len(KINDS)


def test_using_a_broken_reward_names_its_package(tta, tmp_path):
    refused = tta("align", "p", "--backbone", "colours", "--reward", "broken", "--out", tmp_path)
    assert refused.exit_code == 1
    assert "No reward is called 'broken'" in refused.stderr
    assert "Nothing is registered by broken (tta-broken 0.1.0): `tta doctor` shows why." in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_reward_that_raises_is_named_with_its_package(tta, tmp_path):
    refused = tta("align", "p", "--backbone", "colours", "--method", "fixed", "--reward", "raising", "--out", tmp_path)
    assert refused.exit_code == 1
    assert "Raising (from tta-raising 0.1.0) raised AttributeError" in refused.stderr
    assert "difference" in refused.stderr
    assert re.search(r"it happened in \S+tta_raising\.py:\d+\.", refused.stderr)


def test_a_name_that_is_taken_is_refused(tta, tmp_path):
    refused = tta("new", "reward", "edges", "--out", tmp_path)
    assert refused.exit_code == 1
    assert "is taken" in refused.stderr


@pytest.mark.parametrize("name", ["Edges", "local_contrast", "-edges", "edges-", "1edges", ""])
def test_an_invalid_name_is_refused(tta, tmp_path, name):
    refused = tta("new", "reward", "--out", tmp_path, "--", name)
    assert refused.exit_code == 1
    assert "is not a valid name" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_existing_files_are_not_overwritten(tta, tmp_path):
    (tmp_path / "tta-mine").mkdir()
    (tmp_path / "tta-mine" / "work.py").write_text("precious")
    refused = tta("new", "reward", "mine", "--out", tmp_path)
    assert refused.exit_code == 1
    assert "not empty" in refused.stderr
    assert [path.name for path in (tmp_path / "tta-mine").iterdir()] == ["work.py"]


def test_a_reward_is_registered_in_under_15_lines():
    source = rendered("reward", "local-contrast")["tta_local_contrast.py"]
    assert len([line for line in source.splitlines() if line.strip()]) < 15


@pytest.mark.parametrize("kind", KINDS.values())
def test_templates_are_filled_in_completely(kind):
    files = rendered(kind, "two-words")
    assert {"pyproject.toml", "README.md", "tests/test_tta_two_words.py"} <= set(files)
    for path, text in files.items():
        assert "$" not in text, path
        if Path(path).suffix == ".py":
            ast.parse(text)
            assert "TwoWords" in text or "two-words" in text
