"""`tta new` refuses a name that cannot work, before it writes anything."""

import pytest


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("reward", "none", "its class would be None"),
        ("reward", "true", "its class would be True"),
        ("reward", "exception", "its class would be Exception"),
        ("method", "problem", "its class would be Problem"),
        ("backbone", "embedding", "its class would be Embedding"),
        ("reward", "reward-suite", "its class would be RewardSuite"),
        ("reward", "class", "is not a valid name"),
        ("reward", "core", "a module tta_core is installed"),
        ("reward", "align", "A package tta-align"),
        ("reward", "clip", "is taken"),
        ("reward", "a" * 300, "at most 64"),
        ("reward", "Edges", "lower-case"),
        ("reward", "../edges", "lower-case"),
        ("rewrad", "sharp", "Did you mean 'reward'"),
    ],
)
def test_a_name_that_cannot_work(tta, tmp_path, kind, name, why):
    result = tta("new", kind, name, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert why in result.stderr
    assert not (tmp_path / "out").exists()


def test_existing_files_are_not_changed(tta, tmp_path):
    (tmp_path / "tta-sharp").write_text("mine")
    (tmp_path / "tta-soft").mkdir()
    (tmp_path / "tta-soft" / "mine").touch()
    for name in ("sharp", "soft"):
        assert "already exists" in tta("new", "reward", name, "--out", tmp_path).stderr
    assert (tmp_path / "tta-sharp").read_text() == "mine"
    assert [path.name for path in (tmp_path / "tta-soft").iterdir()] == ["mine"]


def test_a_full_disk_leaves_no_files(tta, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tta_plugins.cli.new.write", full)
    result = tta("new", "reward", "sharp", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert not list((tmp_path / "out").iterdir())
