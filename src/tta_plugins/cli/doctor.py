"""`tta doctor`: every plugin, the package it came from, and what is broken."""

from typing import Annotated

import typer

from tta_core.errors import TTAError
from tta_core.plugins.discovery import Found, plugins, unmatched
from tta_core.plugins.registry import KINDS, Entry
from tta_plugins.cli.output import say


def doctor(
    load: Annotated[bool, typer.Option("--load/--no-load", help="Also import what every name stands for (imports torch).")] = True,
) -> None:
    """Check every installed plugin. Exit code 1 if one is broken or two claim one name."""
    loaded = plugins()
    problems = list(loaded.registry.collisions)
    for found in loaded.found:
        entries = [entry for kind in KINDS for entry in loaded.registry.entries(kind) if entry.plugin == str(found)]
        failures = [failure for entry in entries if load for failure in _failures(entry)]
        say(_line(found, entries, failures))
        problems += [found.problem] if found.problem else failures
    for collision in loaded.registry.collisions:
        say(f"collision  {collision}")
    for variable, names in unmatched(loaded.found).items():
        problems += names
        say(f"unknown    {variable} names {', '.join(names)}, which no installed package with plugins is called")
    if problems:
        say(f"tta: {len(problems)} problem(s), listed above. Mend or uninstall the package, or mend the variable, named in each.", err=True)
        raise typer.Exit(1)
    say(f"All {sum(not found.blocked for found in loaded.found)} plugins in use are sound.")


def _line(found: Found, entries: list[Entry], failures: list[str]) -> str:
    if found.blocked:
        return f"blocked  {found}: by TTA_PLUGINS or TTA_PLUGINS_BLOCK"
    if found.problem:
        return f"broken   {found}: {found.problem}"
    names = ", ".join(entry.name for entry in entries) or "no names"
    return "\n".join([f"{'broken' if failures else 'ok':<8} {found}: {names}", *(f"         {failure}" for failure in failures)])


def _failures(entry: Entry) -> list[str]:
    try:
        entry.load()
    except TTAError as error:
        return [str(error)]
    return []
