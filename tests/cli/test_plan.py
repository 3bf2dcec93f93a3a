"""`tta plan`: evaluations are printed first, `--json` prints one document, and forecasts are stored on disk."""

import json
import shutil

import pytest
import torch

from tta_core.errors import LoadError
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.planning import forecast_cache
from tta_plugins.planning.pipeline_configuration import fake_backbone, pipeline_configuration
from tta_plugins.shapes.load import pipeline_folder

ARGUMENTS = ("plan", "--backbone", "shapes", "--method", "best-of-n", "--set", "method.n=3", "--steps", 2, "--height", 32, "--width", 32)
RECORD = dict.fromkeys(("evaluations", "rows", "flops_per_row", "flops", "memory_bytes", "dominates", "policies"), 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the stored forecasts."""
    monkeypatch.setenv("TTA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_plan_is_computed_once(tta, folder, monkeypatch):
    first = tta(*ARGUMENTS)
    assert first.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    assert lines[0].startswith("Rows through each network: decode 3, ")
    kept = [path.suffix for path in folder.iterdir()]
    assert kept == [".json"]

    def planned(**arguments):
        raise AssertionError("it was made again")

    monkeypatch.setattr("tta_plugins.planning.plan.planned", planned)
    assert tta(*ARGUMENTS).stdout.splitlines() == lines
    record = json.loads(tta(*ARGUMENTS, "--json").stdout)
    assert record["rows"]["text"] == record["rows"]["null"] == 6
    assert record["evaluations"] == 12
    assert record["flops"]["total"] > 0 < record["memory_bytes"]["total"]
    for other in ("--no-cache", "--prompts=2"):
        with pytest.raises(AssertionError, match="made again"):
            raise tta(*ARGUMENTS, other).exception


def test_a_damaged_stored_forecast_is_ignored(folder):
    forecast_cache.save("one", RECORD)
    assert forecast_cache.load("one") == RECORD
    assert forecast_cache.load("another") is None
    for damage in ("{", "[1]", '{"rows": 3}'):
        (folder / "one.json").write_text(damage, encoding="utf-8")
        with pytest.warns(UserWarning, match=r"one.json cannot be read: .* computed again"):
            assert forecast_cache.load("one") is None


def test_a_folder_that_cannot_be_written_is_named(folder):
    folder.write_text("a file", encoding="utf-8")
    with pytest.warns(UserWarning, match="cannot be cached in .* Set TTA_CACHE"):
        forecast_cache.save("one", RECORD)


def test_a_key_has_everything_that_determines_a_forecast(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    file.write_text("1", encoding="utf-8")
    keys = [forecast_cache.key({"steps": steps}, files, []) for steps, files in ((1, []), (2, []), (2, [file]))]
    file.write_text("2", encoding="utf-8")
    keys.append(forecast_cache.key({"steps": 2}, [file], []))
    monkeypatch.setattr(forecast_cache, "_version", lambda name: "0")
    keys.append(forecast_cache.key({"steps": 2}, [file], []))
    assert len(set(keys)) == 5
    assert forecast_cache.key({"steps": 2}, [file], []) == keys[-1]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("model_index.json", "[" * 100_000, "is damaged"),
        ("model_index.json", '{"_class_name": "os"}', "diffusers .* has no such pipeline"),
        ("unet/config.json", "[]", "holds a list, not settings"),
        ("unet/config.json", "{}", "names the class None"),
        (
            "unet/config.json",
            '{"_class_name": "UNet2DConditionModel", "block_out_channels": 5}',
            "cannot be built from their configurations",
        ),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, file, text, said):
    shutil.copytree(pipeline_folder(), tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "copy" / file).write_text(text)
    with pytest.raises(LoadError, match=said):
        fake_backbone(pipeline_configuration(str(tmp_path / "copy")), FakeMode(), torch.bfloat16)
