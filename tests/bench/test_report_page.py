"""The pages have every section, load nothing from outside, and a browser shows them without errors."""

import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from tta_plugins.bench.comparison import compare
from tta_plugins.bench.finish import rewrite

SECTIONS = ("verdicts", "curves", "scores", "prompts", "images", "look-aheads", "steps", "panel", "failures", "ledger", "provenance")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def page(drawn):
    return drawn[1] / "report.html"


def test_every_section_is_there(page):
    text = page.read_text()
    assert [name for name in SECTIONS if f'id="{name}"' not in text] == []
    assert text.count("data:image/png") > 6


def outside(text):
    """The addresses that a page would load; the names of XML namespaces are not loaded."""
    loading = re.findall(r'(?:src|href)="([^"#]*)"|url\(([^)#][^)]*)\)|@import', text)
    return [found for pair in loading for found in pair if found and not found.startswith("data:")]


def test_nothing_is_loaded_from_outside(page):
    assert outside(page.read_text()) == []
    assert outside('<img src="https://example.org/a.png">')


def test_identifiers_of_two_figures_differ(page):
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


def test_a_report_without_images_says_so(drawn, tmp_path):
    _, folder = drawn
    for name in ("plan.json", "results.csv"):
        shutil.copy(folder / name, tmp_path / name)
    text = rewrite(tmp_path, tmp_path / "page.html").read_text()
    assert "The folder of this report has no images" in text
    assert "Not finished" not in text
    assert all(f'id="{name}"' in text for name in SECTIONS)


FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--disable-sync", "--disable-component-update"),
    *("--enable-logging=stderr", "--v=0"),
)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(500, False), (1280, False), (1280, True)])
def test_a_browser_shows_it(page, tmp_path, width, dark):
    shot, log = tmp_path / "page.png", tmp_path / "log"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    flags = [*FLAGS, *scheme, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", f"--screenshot={shot}"]
    with log.open("w") as told:  # the browser's child processes would keep a pipe open
        subprocess.run([BROWSER, *flags, page.as_uri()], stdout=told, stderr=told, timeout=600, check=True)
    complaints = [line for line in log.read_text().splitlines() if "CONSOLE" in line]
    assert [line for line in complaints if "source: chrome://" not in line] == []  # its own pages complain on a slow machine
    with Image.open(shot) as image:
        levels = image.convert("L").histogram()
        paper = sum(levels[:64] if dark else levels[192:]) / sum(levels)
        assert 0.3 < paper < 0.99
        assert sum(count > 0 for count in levels) > 20


HOSTILE = "</svg><script>x</script> $\\frac{$ $ {{ 7 * 7 }} \u6f22\u5b57 \U0001f600"


def test_hostile_names_and_prompts_are_text_in_a_report(tmp_path, recwarn):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "<script>y</script> \x1b[2J\u202e", "kind": HOSTILE}) + "\n")
    arms = [{"name": HOSTILE, "method": "fixed", "family": HOSTILE}]
    written = {"title": HOSTILE, "target": "brightness", "steps": 1, "pool": 1, "strips": 1, "arms": arms}
    comparison = compare({**written, "prompts": {"file": str(tmp_path / "p.jsonl")}}, tmp_path / "out")
    for page in ((tmp_path / "out" / "report.html").read_text(), comparison._repr_html_()):
        assert not any(text in page for text in ("<script>x", "<script>y", "\x1b", "\u202e"))
        assert "$\\frac{$" in page
    assert not [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message) or "legend" in str(warning.message)]
