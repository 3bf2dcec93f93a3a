"""`tta cite`: what to cite, in BibTeX."""

from typing import Annotated

import typer

from tta_core.errors import InputError
from tta_core.plugins.registry import KINDS, Collision, Entry
from tta_plugins.cli.output import say


def cite(
    names: Annotated[list[str] | None, typer.Argument(help="Methods, rewards ...; everything that names a citation if left out.")] = None,
) -> None:
    """Print what to cite, in BibTeX."""
    from tta_core.plugins.discovery import plugins
    from tta_plugins.cli.citations import citation_of
    from tta_plugins.cli.show import found

    registry = plugins().registry
    entries = [entry for name in names for entry in found(name)] if names else [entry for kind in KINDS for entry in registry.entries(kind)]
    citations = {entry: citation_of(entry.load()).strip() for entry in entries if names or not _is_claimed_twice(entry)}
    if names and not any(citations.values()):
        raise InputError(f"{', '.join(names)}: nothing to cite is named there. `tta show {names[0]}` says where it comes from.")
    for citation in dict.fromkeys(filter(None, citations.values())):
        say(citation)


def _is_claimed_twice(entry: Entry) -> bool:
    return isinstance(entry.target, Collision)
