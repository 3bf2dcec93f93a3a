"""The wheel has the files that an installed package needs: weights, templates, the type marker."""

import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ("src/tta_plugins/bench/recipes", "src/tta_plugins/bench/prompt_sets", "src/tta_plugins/pages/templates")


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("folder", ["src/tta_plugins/shapes/weights", "src/tta_plugins/cli/templates", *BENCH])
def test_data_files_are_in_the_wheel(wheel, folder):
    there = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert there
    for path in there:
        assert wheel[path.relative_to(ROOT / "src").as_posix()] == path.read_bytes()


def test_the_type_marker_and_the_licence_are_in_the_wheel(wheel):
    assert {"tta_core/py.typed", "tta_plugins/py.typed"} <= set(wheel)
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_nothing_else_is_in_the_wheel(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {"tta_core", "tta_plugins", next(top for top in tops if top.endswith(".dist-info"))}


def test_every_plugin_folder_is_an_entry_point():
    rooms = {point.value for point in entry_points(group="tta") if point.dist.name == "tta-align"}
    plugins = {
        f"tta_plugins.{path.parent.name}" for path in (ROOT / "src" / "tta_plugins").glob("*/__init__.py") if "hookimpl" in path.read_text()
    }
    assert rooms == plugins
