"""docs/matrix.md is what its script finds: each method, family of pipelines and variable runs, or is refused with a reason."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_matrix.py"


@pytest.mark.parametrize(
    "titles", [("Stable Diffusion 1, 2", "FLUX"), pytest.param(None, marks=pytest.mark.slow)], ids=["two families", "every family"]
)
def test_the_page_is_what_running_each_combination_gives(titles):
    written = runpy.run_path(str(SCRIPT))
    said = written["read"](written["PAGE"].read_text(encoding="utf-8"))
    chosen = titles or tuple(written["BACKBONES"])
    expected = {row: {title: cells[title] for title in chosen} for row, cells in said.items()}
    assert written["run_all"](chosen) == expected, "run `python docs/generate_matrix.py`"
