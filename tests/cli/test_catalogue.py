"""`tta list`, `show`, `cite`, `plugins` and `doctor`: the installed names, their packages, and the broken ones."""

import json
import platform
import re
from importlib.metadata import version

import pytest

from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import KINDS
from tta_plugins.methods.date import DATE


def test_every_name_is_listed(tta):
    out = tta("list").stdout
    for kind in KINDS:
        for entry in plugins().registry.entries(kind):
            assert f"  {entry.name} " in out


def test_a_third_party_name_is_listed_with_its_package(tta):
    line = next(line for line in tta("list", "backbones").stdout.splitlines() if line.strip().startswith("colours"))
    assert "images of one colour" in line
    assert "tta-colours 1.0" in line


def test_one_kind_alone_also_in_the_singular(tta):
    assert tta("list", "method").stdout == tta("list", "methods").stdout
    assert "rewards:" not in tta("list", "methods").stdout


def test_json_has_the_same(tta):
    rows = json.loads(tta("list", "--json").stdout)
    assert "ZImagePipeline" in next(row["pipelines"] for row in rows if row["name"] == "z-image")
    assert "ZImagePipeline, ZImageImg2ImgPipeline" in tta("list", "backbones").stdout
    assert "ZImagePipeline" not in tta("list").stdout
    assert [(row["kind"], row["name"]) for row in rows] == [
        (entry.kind, entry.name) for kind in KINDS for entry in plugins().registry.entries(kind)
    ]


def test_an_unknown_kind_is_refused_with_a_suggestion(tta):
    result = tta("list", "rewrads")
    assert result.exit_code == 1
    assert "Did you mean 'rewards'?" in result.stderr


def test_show_gives_fields_source_and_citation(tta):
    out = tta("show", "date").stdout
    assert "rho: float = 0.5" in out
    assert f"updates: tta_core.values.schedules.Schedule = {DATE().updates}" in out
    assert "arXiv 2510.23974" in out
    assert "@inproceedings{na2025date" in out


def test_show_builds_nothing_without_load(tta, site):
    site.add("tta-carded", "tta_carded", CARDED)
    plugins.cache_clear()
    assert "unit: squared levels" not in tta("show", "carded").stdout
    assert "unit: squared levels" in tta("show", "carded", "--load").stdout


def test_show_cannot_load_what_needs_settings(tta):
    result = tta("show", "remote", "--load")
    assert result.exit_code == 1
    assert "could not be made with its defaults" in result.stderr


CARDED = """
from tta_core import Card, hookimpl

class Carded:
    def __init__(self, size: int = 3):
        self.size = size
    @property
    def card(self):
        return Card(unit="squared levels")
    def __call__(self, images, prompts):
        return images.mean((1, 2, 3))

@hookimpl
def tta_register_rewards(register):
    register("carded", Carded)
"""


def test_an_unknown_name_is_refused_with_a_suggestion(tta):
    result = tta("show", "dato")
    assert result.exit_code == 1
    assert "Did you mean 'date'" in result.stderr


def test_cite_prints_each_citation_once(tta):
    date = tta("cite", "date").stdout
    assert date.startswith("@inproceedings{na2025date")
    assert tta("cite", "date", "random-direction").stdout == date
    everything = tta("cite").stdout
    assert everything.count("na2025date") == 1
    assert "radford2021" in everything


def test_cite_refuses_an_unknown_name(tta):
    result = tta("cite", "fixed")
    assert result.exit_code == 1
    assert "has no citation" in result.stderr


def test_doctor_finds_no_problem_here(tta):
    result = tta("doctor")
    assert result.exit_code == 0, result.output
    assert "ok       tta_colours (tta-colours 1.0): colours" in result.stdout


BROKEN = {
    "cannot be imported": ("import no_such_library\n", "No module named 'no_such_library'"),
    "names no hook": ("from tta_core import hookimpl\n@hookimpl\ndef tta_register_reward(register): ...\n", "tta_register_reward"),
    "registers rubbish": (
        "from tta_core import hookimpl\n@hookimpl\ndef tta_register_rewards(register):\n    register('bad', 3)\n",
        "give a class, a function or 'module:attribute'",
    ),
    "names what is not there": (
        "from tta_core import hookimpl\n@hookimpl\ndef tta_register_rewards(register):\n    register('bad', 'tta_bad:Missing')\n",
        "has no attribute 'Missing'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_doctor_names_the_broken_package_and_the_reason(tta, site, case):
    source, reason = BROKEN[case]
    site.add("tta-bad", "tta_bad", source)
    plugins.cache_clear()
    result = tta("doctor")
    assert result.exit_code == 1
    assert "broken   tta_bad (tta-bad 1.0)" in result.stdout
    assert reason in result.stdout
    assert "ok       tta_colours (tta-colours 1.0): colours" in result.stdout


def test_doctor_has_the_same_in_json(tta, site):
    source, reason = BROKEN["names what is not there"]
    site.add("tta-bad", "tta_bad", source)
    plugins.cache_clear()
    result = tta("doctor", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    told = {one["package"]: one for one in report["plugins"]}
    assert told["tta-bad"]["status"] == "broken"
    assert reason in " ".join(told["tta-bad"]["problems"])
    assert told["tta-colours"] == {
        **{"plugin": "tta_colours", "package": "tta-colours", "version": "1.0", "status": "ok", "problems": []},
        "registers": {"backbones": ["colours"]},
    }
    assert report["python"] == platform.python_version()
    assert {name: report["versions"][name] for name in ("torch", "diffusers")} == {
        "torch": version("torch"),
        "diffusers": version("diffusers"),
    }


def test_doctor_in_json_reports_collisions_and_misspelt_choices(tta, site, monkeypatch):
    site.add("tta-other", "tta_other", COLLIDING)
    monkeypatch.setenv("TTA_PLUGINS_BLOCK", "tta-edgs")
    plugins.cache_clear()
    result = tta("doctor", "--json", "--no-load")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert ["tta-edges 1.0" in line and "tta-other 1.0" in line for line in report["collisions"]] == [True]
    assert report["unknown"] == {"TTA_PLUGINS_BLOCK": ["tta-edgs"]}


def test_plugins_lists_packages_of_every_status(tta, site, monkeypatch):
    site.add("tta-bad", "tta_bad", BROKEN["cannot be imported"][0])
    monkeypatch.setenv("TTA_PLUGINS_BLOCK", "tta-edges")
    plugins.cache_clear()
    rows = json.loads(tta("plugins", "--json").stdout)
    status = {row["package"]: row["status"] for row in rows}
    assert (status["tta-bad"], status["tta-edges"], status["tta-colours"], status["tta-align"]) == ("broken", "blocked", "ok", "ok")
    registered = {(kind, name) for row in rows for kind, names in row["registers"].items() for name in names}
    assert registered == {(kind, entry.name) for kind in KINDS for entry in plugins().registry.entries(kind)}
    shown = tta("plugins")
    assert shown.exit_code == 0
    assert re.search(r"^tta_colours \(tta-colours 1\.0\) +colours$", shown.stdout, re.MULTILINE)
    assert re.search(r"^tta_edges \(tta-edges 1\.0\) +blocked$", shown.stdout, re.MULTILINE)
    assert "tta doctor" in shown.stderr


COLLIDING = "from tta_core import hookimpl\n@hookimpl\ndef tta_register_rewards(register):\n    register('edges', len)\n"


def test_a_collision_names_both_plugins_and_uses_neither(tta, site, tmp_path):
    site.add("tta-other", "tta_other", COLLIDING)
    plugins.cache_clear()
    doctor = tta("doctor")
    assert doctor.exit_code == 1
    assert "tta-edges 1.0" in doctor.stdout
    assert "tta-other 1.0" in doctor.stdout
    assert "registered by two plugins" in tta("list", "rewards").stdout
    used = tta("align", "one", "--backbone", "colours", "--reward", "edges", "--out", tmp_path)
    assert used.exit_code == 1
    assert "Two plugins register the rewards name 'edges'" in used.stderr


def test_a_blocked_plugin_is_not_a_broken_one(tta, monkeypatch):
    monkeypatch.setenv("TTA_PLUGINS_BLOCK", "tta-edges")
    plugins.cache_clear()
    result = tta("doctor")
    assert result.exit_code == 0
    assert "blocked  tta_edges (tta-edges 1.0): by TTA_PLUGINS" in result.stdout
    assert f"All {len(plugins().found) - 1} plugins in use are ok." in result.stdout
    assert "edges" not in tta("list", "rewards").stdout


def test_a_misspelt_choice_of_plugins_is_a_problem(tta, monkeypatch):
    monkeypatch.setenv("TTA_PLUGINS_BLOCK", "tta-edgs")
    plugins.cache_clear()
    result = tta("doctor")
    assert result.exit_code == 1
    assert "TTA_PLUGINS_BLOCK names tta-edgs" in result.stdout
