"""The sections of *Choose your entrance*: what each entrance installs, and its first lines."""

import re
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "choose-your-entrance.md"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(sh|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALLATION = re.compile(r"pip install '?\.")  # from the clone, the "." in the line


@attrs.frozen
class Entrance:
    """The lines of a section, exactly as printed on the page."""

    name: str
    installs: tuple[str, ...]
    lines: tuple[str, ...]
    script: str


def entrances():
    """The entrances of the page that have code blocks, by name."""
    found = {}
    for name, text in SECTION.findall(PAGE.read_text(encoding="utf-8")):
        blocks = BLOCK.findall(text)
        if blocks:
            lines = [line for language, block in blocks if language == "sh" for line in block.splitlines()]
            script = "\n".join(block for language, block in blocks if language == "py")
            installs = tuple(line for line in lines if INSTALLATION.match(line))
            found[name] = Entrance(name, installs, tuple(line for line in lines if line not in installs), script)
    return found
