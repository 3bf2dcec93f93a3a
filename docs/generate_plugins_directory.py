"""Writes docs/plugins-directory.md, the list of third-party packages, from docs/plugins.toml.

python docs/generate_plugins_directory.py
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tta_core.errors import InputError
from tta_core.plugins.registry import KINDS

DOCS = Path(__file__).resolve().parent
LIST, PAGE = DOCS / "plugins.toml", DOCS / "plugins-directory.md"
INTRODUCTION = """# Third-party plugins

Packages by others that add methods, rewards, backbones, samplers or memory policies. Install one, and its names work everywhere: in
Python, on the command line, in comparisons, and as ComfyUI nodes. `tta plugins` lists what is installed here.

The maintainers of tta-align have not reviewed these packages. A plugin runs in your process with your rights:
[what a plugin can and cannot break](compatibility.md#what-a-plugin-can-and-cannot-break).
"""
NONE = "No package is listed yet.\n"
JOIN = """## Add yours

1. Write it: [a reward](write-a-reward.md), [a method](write-a-method.md) or [a backbone](write-a-backbone.md). `tta new` writes a
   whole package, with tests that inherit [the suites](testing.md).
2. Publish it, so that `pip install` finds it.
3. Add an entry to `docs/plugins.toml`, run `python docs/generate_plugins_directory.py`, and send both files as a pull request.
   Or fill in the issue form *A plugin for the directory*.

```toml
[[plugins]]
name = "local-contrast"              # what users type
package = "tta-local-contrast"       # what they install
kind = "rewards"                     # backbones, schedulers, rewards, methods or memory
summary = "Mean squared horizontal difference."
source = "https://example.org/tta-local-contrast"
licence = "Apache-2.0"               # of the code; weights often have another
tested = "0.1.0"                     # the version of tta-align with which its tests passed
```

A package is listed if it is published with its source and a licence, if the suites of its kind pass with the version that it states,
and if it states what its score means and where its weights come from. It is removed if it can no longer be installed.
"""


@attrs.frozen
class Listed:
    """One registered name of a package: an entry of `plugins.toml`."""

    name: str
    package: str
    kind: str
    summary: str
    source: str
    licence: str
    tested: str

    def __attrs_post_init__(self) -> None:
        wrong = {
            "name": not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.name),
            "package": not re.fullmatch(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", self.package),
            "kind": self.kind not in KINDS,
            "summary": not self.summary or any(character in self.summary for character in "\n|<"),
            "source": not re.fullmatch(r"https://[^\s|<>()]+", self.source),
            "licence": not re.fullmatch(r"[\w .+()-]+", self.licence),
            "tested": not re.fullmatch(r"\d+(\.\d+)+", self.tested),
        }
        for field, is_wrong in wrong.items():
            if is_wrong:
                raise InputError(f"The {field} of {self.name!r} in plugins.toml is {getattr(self, field)!r}. See the example on the page.")


def listed(text: str) -> list[Listed]:
    """The entries of a `plugins.toml`, by kind and name. Raises `InputError` for an entry that lacks a field or has a wrong one."""
    fields = {field.name for field in attrs.fields(Listed)}
    entries = []
    for entry in tomllib.loads(text).get("plugins", []):
        if set(entry) != fields:
            raise InputError(f"An entry of plugins.toml has {', '.join(sorted(entry)) or 'nothing'}. It takes {', '.join(sorted(fields))}.")
        entries.append(Listed(**entry))
    keys = [(entry.kind, entry.name) for entry in entries]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"plugins.toml lists {repeated[0][1]!r} twice among the {repeated[0][0]}. A name belongs to one package.")
    return sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.name))


def rendered(entries: Sequence[Listed]) -> str:
    """The page."""
    by_kind: Mapping[str, list[Listed]] = {kind: [entry for entry in entries if entry.kind == kind] for kind in KINDS}
    tables = [_table(kind, found) for kind, found in by_kind.items() if found]
    return "\n".join([INTRODUCTION, *(tables or [NONE]), JOIN])


def _table(kind: str, entries: Sequence[Listed]) -> str:
    head = f"## {kind.capitalize()}\n\n| name | package | what it does | licence | tested with |\n|---|---|---|---|---|\n"
    rows = [
        f"| `{one.name}` | [{one.package}]({one.source}) | {one.summary} | {one.licence} | tta-align {one.tested} |\n" for one in entries
    ]
    return head + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(rendered(listed(LIST.read_text(encoding="utf-8"))), encoding="utf-8")
