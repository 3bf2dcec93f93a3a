"""docs/matrix.md has the results of its script: each method, family of pipelines, variable and sampler runs, or is refused with a
reason."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_matrix.py"


@pytest.fixture(scope="module")
def written():
    """The names in the script, and the two tables of the page: of families and of samplers."""
    names = runpy.run_path(str(SCRIPT))
    return names, names["read"](names["PAGE"].read_text(encoding="utf-8"))


def columns(table, chosen):
    return {row: {title: cells[title] for title in chosen} for row, cells in table.items()}


EVERY = pytest.param(None, marks=pytest.mark.slow)


# Stable Diffusion, on which nearly all runs, is run with two samplers below; FLUX refuses what needs a null embedding.
@pytest.mark.parametrize("titles", [("FLUX",), EVERY], ids=["one family", "every family"])
def test_the_page_agrees_with_runs_of_each_family(written, titles):
    names, (families, _) = written
    chosen = titles or tuple(names["BACKBONES"])
    assert names["run_all"](chosen) == columns(families, chosen), "run `python docs/generate_matrix.py`"


@pytest.mark.parametrize("samplers", [("dpm++2m", "lcm"), EVERY], ids=["two samplers", "every sampler"])
def test_the_page_agrees_with_runs_of_each_sampler(written, samplers):
    names, (_, table) = written
    chosen = samplers or tuple(names["SAMPLERS"])
    assert names["run_samplers"](chosen) == columns(table, chosen), "run `python docs/generate_matrix.py`"
