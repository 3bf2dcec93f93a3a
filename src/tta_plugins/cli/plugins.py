"""`tta plugins`: lists the installed packages that register plugins."""

from typing import Annotated

import typer

from tta_plugins.cli.diagnosis import diagnosed
from tta_plugins.cli.output import say, say_json


def list_plugins(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list of {plugin, package, version, status, problems, registers}.")
    ] = False,
) -> None:
    """List the installed plugins with their packages and the names that each registers. Only their registration is imported."""
    found = diagnosed(load=False)
    if as_json:
        say_json([one.plain() for one in found])
        return
    width = max(len(str(one.found)) for one in found)
    for one in found:
        names = ", ".join(entry.name for entry in one.entries) or "no names"
        say(f"{one.found!s:<{width}}  {names if one.status == 'ok' else one.status}")
    if any(one.status == "broken" for one in found):
        say("`tta doctor` shows why a plugin is broken.", err=True)
