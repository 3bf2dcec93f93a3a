"""The pages: every section is there, nothing is loaded from outside, and a browser shows them without a complaint."""

import re
import shutil
import subprocess

import pytest
from PIL import Image

from tta_plugins.bench.finish import rewrite

SECTIONS = ("verdicts", "curves", "scores", "prompts", "pictures", "look-aheads", "steps", "panel", "failures", "ledger", "provenance")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def page(drawn):
    return drawn[1] / "report.html"


def test_every_section_is_there(page):
    text = page.read_text()
    assert [name for name in SECTIONS if f'id="{name}"' not in text] == []
    assert text.count("data:image/png") > 6


def outside(text):
    """Addresses that a page would load; names of XML spaces are none."""
    loading = re.findall(r'(?:src|href)="([^"#]*)"|url\(([^)#][^)]*)\)|@import', text)
    return [found for pair in loading for found in pair if found and not found.startswith("data:")]


def test_nothing_is_loaded_from_outside(page):
    assert outside(page.read_text()) == []
    assert outside('<img src="https://example.org/a.png">')


def test_identifiers_of_two_figures_do_not_meet(page):
    names = re.findall(r'\bid="([^"]+)"', page.read_text())
    assert len(names) == len(set(names))


def test_prompts_are_escaped(drawn):
    from tta_plugins.pages.render import render

    values = {"title": "<script>alert(1)</script>", "method": "", "prompts": [], "reward": "", "unit": "", "stopped": ""}
    text = render("run.html", {**values, "trace": [], "strips": [], "cost": _cost(), "manifest": "<b>"})
    assert "<script>" not in text
    assert "&lt;b&gt;" in text


def _cost():
    return {"rows": {}, "seconds": 1.0, "flops": None, "peak_bytes": None}


def test_a_report_without_pictures_says_so(drawn, tmp_path):
    _, folder = drawn
    for name in ("plan.json", "results.csv"):
        shutil.copy(folder / name, tmp_path / name)
    text = rewrite(tmp_path, tmp_path / "page.html").read_text()
    assert "do not lie beside this report" in text
    assert all(f'id="{name}"' in text for name in SECTIONS)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, False), (1280, True)])
def test_a_browser_shows_it(page, tmp_path, width, dark):
    shot = tmp_path / "page.png"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    ran = subprocess.run([BROWSER, *flags, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert [line for line in ran.stderr.splitlines() if "CONSOLE" in line] == []
    with Image.open(shot) as image:
        levels = image.convert("L")
        lightest = max(levels.histogram()[:64]) if dark else max(levels.histogram()[192:])
        assert image.width >= width
        assert lightest > 0.3 * image.width * image.height  # the paper
        assert len(levels.getcolors(256) or ()) > 20  # and something on it
