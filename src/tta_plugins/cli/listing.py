"""`tta list`: lists every registered name by kind."""

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from tta_core.errors import LoadError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import KINDS, Collision, Entry
from tta_plugins.cli.output import say, say_json
from tta_plugins.cli.suggestions import one_of


def list_entries(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; without it, all of them.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list of {kind, name, summary, plugin, target}; backbones also have pipelines.")
    ] = False,
    python: Annotated[Path | None, typer.Option(help="List the names in another Python's environment.")] = None,
) -> None:
    """List every registered name, by kind."""
    if python is not None:
        raise typer.Exit(_elsewhere(python, [*([kind] if kind else []), *(["--json"] if as_json else [])]))
    kinds = KINDS if kind is None else (kind_named(kind),)
    registry = plugins().registry
    if as_json:
        say_json([_plain(entry) for chosen in kinds for entry in registry.entries(chosen)])
        return
    for chosen in kinds:
        entries = list(registry.entries(chosen))
        say(f"{chosen}:" if entries else f"{chosen}: none")
        width = max((len(entry.name) for entry in entries), default=0)
        for entry in entries:
            origin = "" if "(tta-align " in entry.plugin else f"  [{entry.plugin}]"
            say(f"  {entry.name:<{width}}  {_summary(entry)}{origin}".rstrip())
            for line in textwrap.wrap(", ".join(entry.pipelines), 100) if kind is not None else ():
                say(f"  {'':<{width}}  {line}")
    broken = [found for found in plugins().found if found.problem]
    if broken or registry.collisions:
        say(f"{len(broken)} broken plugin(s), {len(registry.collisions)} name collision(s): `tta doctor` shows the reasons.", err=True)


def _elsewhere(python: Path, arguments: list[str]) -> int:
    """Run the same command in another Python. Raises `LoadError` if it has no tta-align."""
    inside = python / "bin" / "python"
    command = [str(inside if inside.is_file() else python), "-m", "tta_plugins.cli", "list", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    except OSError as error:
        raise LoadError(f"{python} could not be started: {error.strerror}. Give the Python of the other environment.") from error
    if "No module named" in done.stderr and "tta_plugins" in done.stderr:
        raise LoadError(f"{python} has no tta-align, so no names are registered there. Give a reward of it as package.module:Name.")
    say(done.stdout.rstrip())
    if done.stderr:
        say(done.stderr.rstrip(), err=True)
    return done.returncode


def kind_named(text: str) -> str:
    """The kind with this name, which may be singular. Raises `UnknownNameError` with the nearest kind."""
    singular = {kind.removesuffix("s"): kind for kind in KINDS}
    return singular[text] if text in singular else one_of(text, KINDS, "kind of plugin")


def _summary(entry: Entry) -> str:
    return "registered by two plugins: see `tta doctor`" if isinstance(entry.target, Collision) else entry.summary


def _plain(entry: Entry) -> dict[str, object]:
    target = entry.target if isinstance(entry.target, str) else repr(entry.target)
    plain: dict[str, object] = {
        "kind": entry.kind,
        "name": entry.name,
        "summary": _summary(entry),
        "plugin": entry.plugin,
        "target": target,
    }
    return plain | ({"pipelines": list(entry.pipelines)} if entry.pipelines else {})
