"""`tta show`: shows a name's settings, unit, source and citation."""

import inspect
from typing import Annotated

import attrs
import typer

from tta_core.errors import UnknownNameError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import KINDS, Entry
from tta_plugins.cli.output import say
from tta_plugins.cli.suggestions import one_of


def show(
    name: Annotated[str, typer.Argument(help="A name from `tta list`.")],
    load: Annotated[bool, typer.Option("--load", help="Build it with its defaults and show its card; a reward loads its weights.")] = False,
) -> None:
    """Show a name's settings, unit, source and citation."""
    for entry in found(name):
        _show(entry, load)


def found(name: str) -> list[Entry]:
    """The entries with this name, of any kind. Raises `UnknownNameError` with the nearest names."""
    registry = plugins().registry
    known = [entry for kind in KINDS for entry in registry.entries(kind)]
    try:
        one_of(name, dict.fromkeys(entry.name for entry in known), "plugin")
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} `tta list` lists them all.") from None
    return [registry.find(entry.kind, name) for entry in known if entry.name == name]


def _show(entry: Entry, load: bool) -> None:
    from tta_plugins.cli.citations import card_is_computed, card_on, citation_of
    from tta_plugins.cli.settings import settings_of

    target = entry.load()
    say(f"{entry.name} ({entry.kind}): {entry.summary}".rstrip(": "))
    say(f"from {entry.plugin}, {getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', repr(target))}\n")
    say(f"{inspect.getdoc(target) or 'It has no docstring.'}\n")
    settings = settings_of(target)
    say("Settings:" if settings else "It has no settings.")
    for setting in settings.values():
        say(f"  {setting.name}: {setting.type or 'any'}" + (f" = {setting.default}" if setting.default else "  (must be given)"))
    card = card_on(plugins().registry.create(entry.kind, entry.name) if load and isinstance(target, type) else target)
    if card is not None:
        say("Card:")
        for field, value in attrs.asdict(card).items():  # type: ignore[arg-type]
            if value not in ("", None) and field != "citation":
                say(f"  {field}: {value}")
    elif card_is_computed(target):
        say(f"Its card depends on its settings: `tta show {entry.name} --load` loads it and shows the card.")
    citation = citation_of(target)
    say(f"Cite:\n{citation}" if citation else "It has no citation.")
