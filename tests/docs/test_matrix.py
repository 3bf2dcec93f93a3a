"""docs/matrix.md is what its script finds: each method, family of pipelines and variable runs, or is refused with a reason."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_matrix.py"


def test_the_page_is_what_running_each_combination_gives():
    written = runpy.run_path(str(SCRIPT))
    assert written["page"]() == written["PAGE"].read_text(encoding="utf-8"), "run `python docs/generate_matrix.py`"
