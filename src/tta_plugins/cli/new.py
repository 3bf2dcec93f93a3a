"""`tta new`: a package that registers one plugin, complete and passing as written."""

import keyword
import re
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from tta_core.errors import InputError
from tta_core.plugins.discovery import plugins
from tta_core.running.folder import writable
from tta_plugins.cli.output import say
from tta_plugins.cli.suggestions import one_of

KINDS = ("reward", "method", "backbone")
SUFFIX = ".tmpl"


def new(
    kind: Annotated[str, typer.Argument(help="reward, method or backbone.")],
    name: Annotated[str, typer.Argument(help="What users will type: lower case, with dashes, such as edge-density.")],
    out: Annotated[Path, typer.Option(help="The folder in which the package's own folder is made.")] = Path("."),
) -> None:
    """Write a package of your own for one plugin.

    It holds the entry point, the plugin, its tests and a README; it installs and passes as written.
    """
    one_of(kind, KINDS, "kind of package")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise InputError(f"{name!r} cannot be a name. Use lower-case letters and digits in words joined by dashes, such as edge-density.")
    if any(entry.name == name for entry in plugins().registry.entries(f"{kind}s")):
        raise InputError(f"The name {name!r} is taken, and two plugins of one name would both be unusable by it. Give another name.")
    folder = out / f"tta-{name}"
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} exists and is not empty. Give another name, or another --out folder.")
    package = writable(folder)
    for path, text in rendered(kind, name).items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text, encoding="utf-8")
    say(f'Wrote {package}. Next:\n  pip install -e "{package}[dev]"\n  pytest {package}\n  tta show {name}')


def rendered(kind: str, name: str) -> dict[str, str]:
    """The package's files by path; `plugin` in a template's path stands for the module."""
    words = {"name": name, "module": f"tta_{name.replace('-', '_')}", "Class": "".join(word.capitalize() for word in name.split("-"))}
    folder = Path(__file__).parent / "templates" / kind
    made = {}
    for source in sorted(folder.rglob(f"*{SUFFIX}")):
        path = source.relative_to(folder).as_posix().removesuffix(SUFFIX).replace("plugin", words["module"])
        made[path] = Template(source.read_text(encoding="utf-8")).substitute(words)
    return made
