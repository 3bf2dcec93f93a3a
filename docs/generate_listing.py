"""Writes the listing of the kernel's files in docs/design-notes.md: one line for each file, the first sentence of its docstring.

python docs/generate_listing.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNEL = ROOT / "src" / "tta_core"
PAGE = ROOT / "docs" / "design-notes.md"
FOLDERS = ("values", "protocols", "solving", "plugins", "running", "testing")
SECTION = re.compile(r"(?<=^## The kernel's files\n\n)```text\n.*?^```", re.MULTILINE | re.DOTALL)


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[\w)`]{2}\.)\s", paragraph, maxsplit=1)[0].removesuffix(".")


def lines() -> list[str]:
    """The listing: the package, then each folder from the lowest to the highest, with its files."""
    written = [f"tta_core/  {first_sentence(KERNEL / '__init__.py')}", f"  errors.py  {first_sentence(KERNEL / 'errors.py')}"]
    for folder in FOLDERS:
        files = sorted(path for path in (KERNEL / folder).glob("*.py") if path.name != "__init__.py")
        width = max(len(path.name) for path in files) + 2
        written.append(f"  {folder}/  {first_sentence(KERNEL / folder / '__init__.py')}")
        written += [f"    {path.name:<{width}}{first_sentence(path)}" for path in files]
    return written


def page() -> str:
    """The text of the design notes with a new listing."""
    text = PAGE.read_text(encoding="utf-8")
    return SECTION.sub(lambda _: "\n".join(["```text", *lines(), "```"]), text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
