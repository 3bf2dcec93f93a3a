"""Every citation of the built-in plugins is complete BibTeX that a reader can paste into a paper."""

import re
from itertools import accumulate

import pytest

from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import KINDS
from tta_plugins.cli.citations import citation_of
from tta_plugins.editing import ddpm_inversion, null_text

OWN = {"fixed", "best-of-n", "diffusers", "shapes", "auto"}
ENTRY = re.compile(r"@(\w+)\{(\w+),\n(.*?)\n\}(?:\n|$)", re.DOTALL)


def citations():
    entries = [entry for kind in KINDS for entry in plugins().registry.entries(kind)]
    found = {(entry.kind, entry.name): citation_of(entry.load()) for entry in entries}
    return found | {("editing", module.__name__): module.CITATION for module in (ddpm_inversion, null_text)}


def balanced(value):
    depths = list(accumulate({"{": 1, "}": -1}.get(letter, 0) for letter in value))
    return min(depths) >= 0 and depths[-1] == 0


def fields(body):
    """The fields of one entry. Text that is left over, or a brace that stays open, is invalid BibTeX."""
    parts = re.split(r",\n(?=  \w+ = \{)", body)
    matches = [re.fullmatch(r"  (\w+) = \{(.+)\}", part, re.DOTALL) for part in parts]
    assert all(matches), body
    assert all(balanced(match[2]) for match in matches), body
    return {match[1]: match[2] for match in matches}


def test_every_method_and_model_family_has_a_citation():
    missing = {name for (kind, name), text in citations().items() if kind in ("methods", "backbones") and not text}
    assert missing <= OWN


def test_every_citation_is_bibtex_with_author_title_year_and_an_address():
    keys = {}
    for owner, text in citations().items():
        entries = ENTRY.findall(text)
        assert "".join(f"@{kind}{{{key},\n{body}\n}}\n" for kind, key, body in entries).strip() == text.strip(), owner
        for _, key, body in entries:
            read = fields(body)
            assert {"author", "title", "year"} <= read.keys(), (owner, key)
            assert {"eprint", "doi", "url"} & read.keys(), (owner, key)
            assert re.fullmatch(r"\d{4}", read["year"]), (owner, key)
            assert re.fullmatch(r"\d{4}\.\d{4,5}", read.get("eprint", "0000.00000")), (owner, key)
            assert keys.setdefault(key, body) == body, f"{owner}: {key} is the key of two papers"
    assert len(keys) > 30


@pytest.mark.parametrize(
    "bad", ["  title = {open {brace},\n  year = {2025}", "  title = plain,\n  year = {2025}", "  title = {no comma}\n  year = {2025}"]
)
def test_invalid_bibtex_is_detected(bad):
    with pytest.raises(AssertionError):
        fields(bad)
