"""`tta new`: a package that registers one plugin, complete and passing as written."""

import builtins
import importlib.util
import keyword
import re
import shutil
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from tta_core.errors import InputError, SaveError
from tta_core.plugins.discovery import OWN, plugins
from tta_core.running.atomic_files import reason, write
from tta_core.running.folder import writable
from tta_plugins.cli.output import say
from tta_plugins.cli.suggestions import one_of

KINDS = {
    "reward": "rewards",
    "method": "methods",
    "backbone": "backbones",
    "sampler": "schedulers",
    "policy": "memory",
}  # and in the registry
SUFFIX = ".tmpl"
LONGEST = 64


def new(
    kind: Annotated[str, typer.Argument(help="reward, method, backbone, sampler or policy.")],
    name: Annotated[str, typer.Argument(help="What users will type: lower case, with dashes, such as local-contrast.")],
    out: Annotated[Path, typer.Option(help="The folder in which the package's own folder is made.")] = Path("."),
) -> None:
    """Write a package of your own for one plugin.

    It holds the entry point, the plugin, its tests and a README; it installs and passes as written.
    """
    one_of(kind, tuple(KINDS), "kind of package")
    files = rendered(kind, checked(name, kind))
    folder = writable(out) / f"tta-{name}"
    if folder.exists() and not (folder.is_dir() and _is_empty(folder)):
        raise InputError(f"{folder} is in the way: a file, or a folder that is not empty. Give another name, or another --out folder.")
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write(folder / path, text.encode())
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SaveError(f"Cannot write {folder}: {reason(error)}. Nothing was left of it. Give another --out folder.") from error
    say(f'Wrote {folder}. Next:\n  pip install -e "{folder}[dev]"\n  pytest {folder}\n  tta show {name}')


def checked(name: str, kind: str) -> str:
    """The name, if a package, a module and a class can be called after it. Raises `InputError` before anything is written."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise InputError(
            f"{name[:LONGEST]!r} cannot be a name. Use at most {LONGEST} lower-case letters and digits, in words joined by dashes, such as "
            "local-contrast."
        )
    if any(entry.name == name for entry in plugins().registry.entries(KINDS[kind])):
        raise InputError(f"The name {name!r} is taken, and two plugins of one name would both be unusable by it. Give another name.")
    words = _words(name)
    if importlib.util.find_spec(words["module"]) is not None or name == OWN.removeprefix("tta-"):
        raise InputError(f"A package tta-{name} or a module {words['module']} is installed, and would be hidden. Give another name.")
    class_name = words["Class"]
    if class_name in _names_in_templates(kind) or keyword.iskeyword(name) or keyword.iskeyword(class_name) or hasattr(builtins, class_name):
        raise InputError(f"{name!r} cannot be a name: its class would be {class_name}, which means something else. Add a word to it.")
    return name


def _names_in_templates(kind: str) -> set[str]:
    """Every identifier of the templates' Python files: a class of such a name would hide what they import."""
    sources = "".join(text for path, text in rendered(kind, "placeholder").items() if path.endswith(".py"))
    return set(re.findall(r"[A-Za-z_]\w*", sources)) - {"Placeholder"}


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return False


def _words(name: str) -> dict[str, str]:
    return {"name": name, "module": f"tta_{name.replace('-', '_')}", "Class": "".join(word.capitalize() for word in name.split("-"))}


def rendered(kind: str, name: str) -> dict[str, str]:
    """The package's files by path; `plugin` in a template's path stands for the module."""
    words = _words(name)
    folder = Path(__file__).parent / "templates" / kind
    made = {}
    for source in sorted(folder.rglob(f"*{SUFFIX}")):
        path = source.relative_to(folder).as_posix().removesuffix(SUFFIX).replace("plugin", words["module"])
        made[path] = Template(source.read_text(encoding="utf-8")).substitute(words)
    return made
