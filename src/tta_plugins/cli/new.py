"""`tta new`: writes a complete package that registers one plugin and passes its tests."""

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
}  # by kind of package, the kind in the registry
SUFFIX = ".tmpl"
LONGEST = 64


def new(
    kind: Annotated[str, typer.Argument(help="reward, method, backbone, sampler or policy.")],
    name: Annotated[str, typer.Argument(help="The name that users type: lower case, with dashes, such as local-contrast.")],
    out: Annotated[Path, typer.Option(help="The folder in which the package's folder is created.")] = Path("."),
) -> None:
    """Write a package for a new plugin.

    It has the entry point, the plugin, its tests and a README. It can be installed and passes its tests as it is.
    """
    one_of(kind, tuple(KINDS), "kind of package")
    files = rendered(kind, checked(name, kind))
    folder = writable(out) / f"tta-{name}"
    if folder.exists() and not (folder.is_dir() and _is_empty(folder)):
        raise InputError(f"{folder} already exists: a file, or a folder that is not empty. Give another name, or another --out folder.")
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write(folder / path, text.encode())
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SaveError(f"Cannot write {folder}: {reason(error)}. It was removed again. Give another --out folder.") from error
    say(f'Wrote {folder}. Next:\n  pip install -e "{folder}[dev]"\n  pytest {folder}\n  tta show {name}')


def checked(name: str, kind: str) -> str:
    """The name, if it is valid for a package, a module and a class. Raises `InputError` otherwise."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise InputError(
            f"{name[:LONGEST]!r} is not a valid name. Use at most {LONGEST} lower-case letters and digits, in words joined by dashes, such "
            "as local-contrast."
        )
    if any(entry.name == name for entry in plugins().registry.entries(KINDS[kind])):
        raise InputError(f"The name {name!r} is taken, and a name that two plugins register cannot be used. Give another name.")
    words = _words(name)
    if importlib.util.find_spec(words["module"]) is not None or name == OWN.removeprefix("tta-"):
        raise InputError(
            f"A package tta-{name} or a module {words['module']} is installed already, and would be hidden. Give another name."
        )
    class_name = words["Class"]
    if class_name in _names_in_templates(kind) or keyword.iskeyword(name) or keyword.iskeyword(class_name) or hasattr(builtins, class_name):
        raise InputError(f"{name!r} is not a valid name: its class would be {class_name}, which has another meaning. Add a word to it.")
    return name


def _names_in_templates(kind: str) -> set[str]:
    """Every identifier in the templates' Python files. A class with such a name would hide one of their imports."""
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
    """The package's files by path. `plugin` in a template's path is replaced by the module's name."""
    words = _words(name)
    folder = Path(__file__).parent / "templates" / kind
    made = {}
    for source in sorted(folder.rglob(f"*{SUFFIX}")):
        path = source.relative_to(folder).as_posix().removesuffix(SUFFIX).replace("plugin", words["module"])
        made[path] = Template(source.read_text(encoding="utf-8")).substitute(words)
    return made
