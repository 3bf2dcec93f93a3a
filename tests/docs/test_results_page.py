"""The page of results agrees with the committed table, and its report is complete."""

import copy
import io
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tta_plugins.bench import finish, summary
from tta_plugins.bench.summary import summarise

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module", autouse=True)
def summarised_once():
    """The script and the report summarise the same plan and results, which takes seconds: the second one gets the first one's summary."""
    known = []

    def once(*given):
        if not known:
            known.append((given[:3], summarise(*given)))
        assert given[:3] == known[0][0]
        return copy.deepcopy(known[0][1])

    with pytest.MonkeyPatch.context() as patch:
        for module in (summary, finish):
            patch.setattr(module, "summarise", once)
        yield


@pytest.fixture(scope="module")
def tables():
    """The tables that the script prints for the committed results."""
    script = ROOT / "benchmarks" / "results_table.py"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [str(script), str(RESULTS)])
        runpy.run_path(str(script), run_name="__main__")
    return printed.getvalue()


def test_every_number_of_the_page_is_in_the_tables(tables):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    rows = [line for line in tables.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert [row for row in rows if row not in page] == []


def test_the_committed_results_give_a_complete_report(tmp_path):
    text = finish.rewrite(RESULTS, tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="verdicts"' in text
    assert "best of n" in text
    assert "every arm has at least" not in text  # no section was shortened
