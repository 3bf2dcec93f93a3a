"""`tta doctor`: lists every plugin with its package and its problems."""

from typing import Annotated

import typer

from tta_core.plugins.discovery import plugins, unmatched
from tta_plugins.cli.diagnosis import Diagnosed, accelerators, diagnosed, environment
from tta_plugins.cli.output import say, say_json


def doctor(
    load: Annotated[bool, typer.Option("--load/--no-load", help="Also import everything that is registered, and torch.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the system and the versions of the libraries, as a bug report needs.")
    ] = False,
) -> None:
    """Check every installed plugin. The exit code is 1 if one is broken or two register the same name."""
    found = diagnosed(load)
    collisions = plugins().registry.collisions
    unknown = unmatched(one.found for one in found)
    problems = [
        *collisions,
        *(problem for one in found for problem in one.problems),
        *(name for names in unknown.values() for name in names),
    ]
    if as_json:
        say_json(
            {
                **environment(),
                **({"accelerators": accelerators()} if load else {}),
                "plugins": [one.plain() for one in found],
                "collisions": list(collisions),
                "unknown": unknown,
            }
        )
    else:
        _print(found, collisions, unknown)
    if problems:
        say(f"tta: {len(problems)} problem(s), listed above. Fix or uninstall the package, or fix the variable, that each names.", err=True)
        raise typer.Exit(1)
    if not as_json:
        say(f"All {sum(one.status != 'blocked' for one in found)} plugins in use are ok.")


def _print(found: list[Diagnosed], collisions: list[str], unknown: dict[str, list[str]]) -> None:
    for one in found:
        say(_line(one))
    for collision in collisions:
        say(f"collision  {collision}")
    for variable, names in unknown.items():
        say(f"unknown    {variable} names {', '.join(names)}, but no installed package with plugins has that name")


def _line(one: Diagnosed) -> str:
    if one.status == "blocked":
        return f"blocked  {one.found}: by TTA_PLUGINS or TTA_PLUGINS_BLOCK"
    if one.found.problem:
        return f"broken   {one.found}: {one.found.problem}"
    names = ", ".join(entry.name for entry in one.entries) or "no names"
    return "\n".join([f"{one.status:<8} {one.found}: {names}", *(f"         {problem}" for problem in one.problems)])
