"""The documentation is correct: its code runs, its signatures are the real ones, and its tables name all registered parts."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tta_core.plugins import hookspecs
from tta_core.plugins.discovery import plugins
from tta_plugins.cli.new import KINDS, rendered

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in [ROOT / "README.md", *DOCS.rglob("*.md")] if BLOCK.search(page.read_text()))


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_on_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(), {"__name__": "__page__"}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(page), "exec"), names)
    if page.stem == "tutorial":  # its output lists the files in the folder
        assert {path.name for path in Path("images").iterdir()} == {"aligned.png", "baseline.png", "grid.png", "run.json"}


@pytest.mark.parametrize("kind", ["methods", "rewards", "backbones"])
def test_the_readme_names_every_plugin_of_the_package(kind):
    named = set(re.findall(r"`([\w.-]+)`", (ROOT / "README.md").read_text()))
    assert {entry.name for entry in plugins().registry.entries(kind)} - named == set()


def test_the_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert len(links) > 30
    assert [link for link in links if not (ROOT / link).exists()] == []


def hooks():
    return {name: hook for name, hook in vars(hookspecs).items() if name.startswith("tta_")}


def test_every_hook_is_documented_with_its_own_signature():
    headings = re.findall(r"^## (tta_\w+)\((.*)\)$", (DOCS / "hooks.md").read_text(), re.MULTILINE)
    assert dict(headings) == {name: ", ".join(inspect.signature(hook).parameters) for name, hook in hooks().items()}


def test_every_hook_shows_its_own_docstring():
    shown = re.findall(r"^::: tta_core\.plugins\.hookspecs\.(tta_\w+)$", (DOCS / "hooks.md").read_text(), re.MULTILINE)
    assert set(shown) == set(hooks())
    assert all(re.search(r"Since \d+\.\d+\.$", inspect.getdoc(hook)) for hook in hooks().values())


def test_register_is_documented_with_its_own_signature():
    parameters = [str(p).split(":")[0] + ("" if p.default is p.empty else f"={p.default!r}") for p in parameters_of_register()]
    said = re.search(r"`register\((.*)\)`, called|called as `register\((.*)\)`", (DOCS / "hooks.md").read_text())
    assert (said.group(1) or said.group(2)).replace('"', "'") == ", ".join(parameters)


def parameters_of_register():
    return list(inspect.signature(hookspecs.Register.__call__).parameters.values())[1:]


def test_every_memory_policy_is_in_the_table():
    named = set(re.findall(r"^\| `([\w-]+)`", (DOCS / "memory.md").read_text(), re.MULTILINE))
    assert named == {entry.name for entry in plugins().registry.entries("memory")}


def test_every_exit_code_and_command_is_documented():
    from tta_plugins.cli.app import app

    page = (DOCS / "command-line.md").read_text()
    for command in app.registered_commands:
        assert re.search(rf"^## .*\b{command.name}\b", page, re.MULTILINE), command.name
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == ["0", "1", "2", "129", "130", "143"]


def test_the_reward_on_the_page_is_the_one_that_tta_new_writes():
    written = rendered("reward", "local-contrast")["tta_local_contrast.py"]
    assert written.strip() in (DOCS / "write-a-reward.md").read_text()


def test_every_tta_new_on_a_page_is_accepted(tmp_path):
    from tta_plugins.cli.app import app

    texts = [page.read_text() for page in [ROOT / "README.md", *DOCS.rglob("*.md")]]
    commands = {(kind, name) for text in texts for kind, name in re.findall(r"^tta new (\S+) (\S+)", text, re.MULTILINE)}
    assert {kind for kind, _ in commands} == set(KINDS)
    for kind, name in sorted(commands):
        written = CliRunner().invoke(app, ["new", kind, name, "--out", str(tmp_path)])
        assert written.exit_code == 0, written.output
        assert f'pip install -e "{tmp_path / f"tta-{name}"}[dev]"' in written.output


def modules_imported(source):
    """The kernel's modules that some Python code imports or imports from; a name that the package itself exports counts as the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tta_core."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tta_core."):
            package = Path(ROOT, "src", *node.module.split(".")).is_dir() and node.module != "tta_core.testing"
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if package else (node.module,)


def test_every_module_that_plugins_templates_and_pages_import_is_public():
    listed = set(re.findall(r"`(tta_core\.[\w.]+)`", (DOCS / "compatibility.md").read_text()))
    templates = [rendered(kind, "some-name") for kind in KINDS]
    sources = [path.read_text() for path in (ROOT / "src" / "tta_plugins").rglob("*.py")]
    sources += [text for files in templates for name, text in files.items() if name.endswith(".py")]
    sources += [block for page in PAGES for block in BLOCK.findall(page.read_text())]
    imported = {module for source in sources for module in modules_imported(source)}
    assert imported - listed == set()
    for module in listed - {"tta_core.__all__"}:
        importlib.import_module(module)


def test_every_error_has_a_row_and_an_example():
    from tta_core import errors

    page = (DOCS / "reference" / "errors.md").read_text()
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value) and name.endswith("Error")}
    assert set(re.findall(r"^\| `(\w+Error)` \|", page, re.MULTILINE)) == classes - {"TTAError"}
    shown = set(re.findall(r"raised\((\w+Error),|except (\w+Error)", page))
    assert {name for pair in shown for name in pair if name} >= classes - {"TTAError", "SaveError"}


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS).as_posix()}\n" in navigation, page


def test_promised_versions_are_the_required_ones():
    page, project = (DOCS / "compatibility.md").read_text(), (ROOT / "pyproject.toml").read_text()
    for name in ("torch", "diffusers", "transformers"):
        promised = re.search(rf"^\| {name} \|.*\| ([\d.]+) and later \|", page, re.MULTILINE).group(1)
        assert f'"{name}>={promised}"' in project
        row = re.search(rf"^\| {name} \|(.*)$", page, re.MULTILINE).group(1)
        files = [(ROOT / file).read_text() for file in ("constraints.txt", "constraints-oldest.txt")]
        pins = [pin for file in files for pin in re.findall(rf"^{name}==([\d.]+)$", file, re.MULTILINE)]
        assert len(pins) == (1 if name == "torch" else 2)
        assert all(pin.removesuffix(".0") in row for pin in pins), (name, pins)
