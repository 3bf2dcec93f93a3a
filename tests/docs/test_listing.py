"""The listing of the kernel's files in docs/design-notes.md agrees with the docstrings, and is complete."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTING = runpy.run_path(str(ROOT / "docs" / "generate_listing.py"))


def test_the_listing_agrees_with_the_docstrings():
    assert LISTING["SECTION"].search(LISTING["PAGE"].read_text(encoding="utf-8"))
    assert LISTING["page"]() == LISTING["PAGE"].read_text(encoding="utf-8"), "run `python docs/generate_listing.py`"


def test_every_file_of_the_kernel_has_a_line_with_a_description():
    lines = LISTING["lines"]()
    names = [line.split()[0] for line in lines]
    files = [path for path in LISTING["KERNEL"].rglob("*.py") if path.name != "__init__.py"]
    assert sorted(name for name in names if name.endswith(".py")) == sorted(path.name for path in files)
    assert {path.name for path in LISTING["KERNEL"].iterdir() if (path / "__init__.py").exists()} == set(LISTING["FOLDERS"])
    assert all(len(line.split()) > 3 for line in lines)
