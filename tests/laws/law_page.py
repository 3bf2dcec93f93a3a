"""Writes the list of laws in docs/testing.md, from the laws' own docstrings: `python tests/laws/law_page.py`."""

import inspect
import sys
from pathlib import Path

import test_laws_of_date
import test_laws_of_dno
import test_laws_of_null_tta
from breaking import laws_of

from tta_core import testing

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
START, END = "<!-- laws: written by tests/laws/law_page.py -->", "<!-- end of laws -->"
SUITES = [getattr(testing, name) for name in testing.__all__ if name.endswith("Suite")]
OWN = {"DATE": test_laws_of_date, "Null-TTA": test_laws_of_null_tta, "DNO": test_laws_of_dno}


def laws() -> dict[str, list[tuple[str, str]]]:
    """(name, statement) of each law, by suite, and the laws of single methods."""
    suites = {suite.__name__: [(name, getattr(suite, name)) for name in laws_of(suite)] for suite in SUITES}
    own = {f"{name} alone": [(law, value) for law, value in vars(module).items() if law.startswith("law_")] for name, module in OWN.items()}
    return {kind: [(name, _statement(law)) for name, law in found] for kind, found in {**suites, **own}.items()}


def _statement(law: object) -> str:
    text = inspect.getdoc(law)
    assert text, f"{law} states no law"
    return " ".join(text.split())


def listed() -> str:
    """The list, as Markdown."""
    found = laws()
    lines = [f"{sum(map(len, found.values()))} laws, {sum(len(found[suite.__name__]) for suite in SUITES)} of them in suites to inherit."]
    for kind, statements in found.items():
        lines += ["", f"### {kind} ({len(statements)})", ""]
        lines += [f"- **{name.partition('_')[2].replace('_', ' ')}**: {statement}" for name, statement in statements]
    return "\n".join(lines)


def page_with(text: str) -> str:
    """The page with this list in place of its own."""
    head, _, rest = PAGE.read_text().partition(START)
    return f"{head}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with(listed()))
    sys.stdout.write(f"{PAGE}\n")
