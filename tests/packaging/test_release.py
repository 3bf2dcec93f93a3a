"""The distributions as they would be published: they install in an environment without this project, and the commands run from another
folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [f"python3.{minor}" for minor in (11, 12, 13)]
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9") | {"no_proxy": "", "HF_HUB_OFFLINE": "1"}


def ran(*command, folder, **environment):
    """The standard output of a command, run in a folder with nothing of this checkout on its path."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("TTA_")}
    finished = subprocess.run(
        list(map(str, command)), cwd=folder, env={**inherited, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request, built, tmp_path_factory):
    """The scripts of an environment that sees the libraries of this one and has the distribution installed, without a checkout."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "--disable-pip-version-check")
    how = ("--quiet", "--no-deps", "--no-index", "--no-cache-dir", "--no-build-isolation", "--ignore-installed")
    ran(*pip, "install", *how, getattr(built, request.param), folder=folder)
    where = ran(folder / "bin/python", "-c", "import tta_core, tta_plugins; print(tta_core.__file__, tta_plugins.__file__)", folder=folder)
    assert [Path(path).is_relative_to(site) for path in where.split()] == [True, True]
    return folder / "bin"


def test_the_command_prints_its_version_and_finds_its_own_plugins(installed, tmp_path):
    assert ran(installed / "tta", "--version", folder=tmp_path) == f"tta-align {PROJECT['version']}\n"
    rows = json.loads(ran(installed / "tta", "plugins", "--json", folder=tmp_path))
    assert {row["plugin"] for row in rows if row["package"] == "tta-align"} == set(PROJECT["entry-points"]["tta"])
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize("installed", ["wheel"], indirect=True)
def test_it_aligns_on_the_embedded_model_without_a_network(installed, tmp_path):
    arguments = ("align", "a red circle", "--method", "date", "--steps", "4", "--out", "images")
    ran(installed / "tta", *arguments, folder=tmp_path, **NO_NETWORK)
    assert {path.name for path in (tmp_path / "images").iterdir()} >= {"aligned.png", "baseline.png", "grid.png", "run.json"}


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_it_installs_with_its_dependencies_into_an_empty_environment(python, built, tmp_path):
    if not shutil.which(python) or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip(f"there is no {python} here")
    ran(python, "-m", "venv", tmp_path / "env", folder=tmp_path)
    ran(tmp_path / "env/bin/pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", built.wheel, folder=tmp_path)
    tta = tmp_path / "env/bin/tta"
    assert json.loads(ran(tta, "doctor", "--json", folder=tmp_path, **NO_NETWORK))["versions"]["tta-align"] == PROJECT["version"]
    ran(tta, "align", "a red circle", "--method", "date", "--steps", "4", "--out", "images", folder=tmp_path, **NO_NETWORK)
    assert (tmp_path / "images" / "grid.png").is_file()


def test_the_source_distribution_has_the_files_of_the_wheel_and_the_tests(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if wanted.returncode:
        pytest.skip("this is no git checkout, so nothing says which files belong to it")
    assert {name for name in wanted.stdout.splitlines() if (ROOT / name).is_file()} - names == set()


def test_the_page_on_an_index_has_no_broken_link(built):
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        facts = message_from_bytes(archive.read(name))
    page = facts.get_payload()
    assert facts["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"\]\((?!https?://)[^)]*\)", page) == []
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"\]\((https?://[^)]*)\)", page) == re.findall(r"\]\((https?://[^)]*)\)", readme)
    assert re.findall(r"^#+ .*$", page, re.MULTILINE) == re.findall(r"^#+ .*$", readme, re.MULTILINE)


def test_the_size_of_the_wheel_is_as_documented(built):
    (said,) = re.findall(r"a wheel of ([\d.]+) MB", (ROOT / "README.md").read_text())
    assert built.wheel.stat().st_size / 1e6 == pytest.approx(float(said), rel=0.04)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_asks_for_the_output_of_doctor(form):
    asked = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= set(asked)
    assert any("tta doctor --json" in field["attributes"]["label"] for field in asked["body"])
    assert len({field["id"] for field in asked["body"]}) == len(asked["body"])


def test_every_fragment_of_the_changelog_is_of_a_known_kind():
    kinds = {"added", "changed", "fixed", "removed"}
    fragments = [path for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    assert fragments
    assert [path.name for path in fragments if not re.fullmatch(rf"\+[a-z0-9-]+\.({'|'.join(kinds)})\.md", path.name)] == []
