"""`tta cite`: prints the BibTeX entries of plugins."""

from typing import Annotated

import typer

from tta_core.errors import InputError
from tta_core.plugins.registry import KINDS, Collision, Entry
from tta_plugins.cli.output import say


def cite(
    names: Annotated[list[str] | None, typer.Argument(help="Names of methods, rewards and so on; without any, all citations.")] = None,
) -> None:
    """Print the papers to cite, in BibTeX."""
    from tta_core.plugins.discovery import plugins
    from tta_plugins.cli.citations import citation_of
    from tta_plugins.cli.show import found

    registry = plugins().registry
    entries = [entry for name in names for entry in found(name)] if names else [entry for kind in KINDS for entry in registry.entries(kind)]
    citations = {entry: citation_of(entry.load()).strip() for entry in entries if names or not _is_claimed_twice(entry)}
    if names and not any(citations.values()):
        raise InputError(f"{', '.join(names)} has no citation. `tta show {names[0]}` shows its source.")
    for citation in dict.fromkeys(filter(None, citations.values())):
        say(citation)


def _is_claimed_twice(entry: Entry) -> bool:
    return isinstance(entry.target, Collision)
