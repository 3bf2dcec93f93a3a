"""docs/plugins-directory.md is generated from docs/plugins.toml by its script; an invalid entry is refused by name."""

import runpy
import tomllib
from pathlib import Path

import pytest
import yaml

from tta_core.errors import InputError

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "generate_plugins_directory.py"))
ENTRY = {
    "name": "local-contrast",
    "package": "tta-local-contrast",
    "kind": "rewards",
    "summary": "Mean squared horizontal difference.",
    "source": "https://example.org/tta-local-contrast",
    "licence": "Apache-2.0",
    "tested": "0.1.0",
}


def written(*entries):
    return "\n".join(["[[plugins]]\n" + "\n".join(f'{name} = "{value}"' for name, value in entry.items()) for entry in entries])


def test_the_page_agrees_with_the_list():
    page = SCRIPT["rendered"](SCRIPT["listed"](SCRIPT["LIST"].read_text()))
    assert SCRIPT["PAGE"].read_text() == page, "run `python docs/generate_plugins_directory.py`"


def test_entries_are_shown_by_kind_and_name():
    method = {**ENTRY, "name": "greedy", "package": "tta-greedy", "kind": "methods"}
    page = SCRIPT["rendered"](SCRIPT["listed"](written(method, ENTRY, {**ENTRY, "name": "edges"})))
    assert "No package is listed yet" not in page
    assert (
        page.index("## Rewards")
        < page.index("`edges`")
        < page.index("`local-contrast`")
        < page.index("## Methods")
        < page.index("`greedy`")
    )
    assert "[tta-greedy](https://example.org/tta-local-contrast)" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Local Contrast"),
        ("package", "not a package"),
        ("kind", "reward"),
        ("summary", "one | two"),
        ("source", "javascript:alert(1)"),
        ("licence", ""),
        ("tested", "newest"),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(InputError, match=rf"^The {field} of "):
        SCRIPT["listed"](written({**ENTRY, field: value}))


def test_missing_fields_and_repeated_names_are_refused():
    with pytest.raises(InputError, match="It takes kind, licence, name"):
        SCRIPT["listed"](written({"name": "local-contrast"}))
    with pytest.raises(InputError, match="'local-contrast' twice among the rewards"):
        SCRIPT["listed"](written(ENTRY, ENTRY))


def test_the_pages_example_and_the_issue_form_have_every_field():
    block = SCRIPT["JOIN"].split("```toml\n")[1].split("```")[0]
    assert [one.name for one in SCRIPT["listed"](block)] == ["local-contrast"]
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "plugin.yml").read_text())
    entry = next(part["attributes"]["value"] for part in form["body"] if part["id"] == "entry")
    assert set(tomllib.loads(entry)["plugins"][0]) == set(ENTRY)
