"""Registers the commands, and handles errors, interruptions and lost output for all of them.

Exit codes: 0 for success; 1 for an error, with the reason on standard error; 2 for wrong usage of the command line; 128 plus the signal's
number if a signal ended the command: 129 (SIGHUP), 130 (Ctrl-C), 143 (SIGTERM).
"""

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tta_core.errors import TTAError
from tta_plugins.cli import align, cite, doctor, edit, listing, new, plan, plugins, score, show
from tta_plugins.cli.interruption import Interrupted
from tta_plugins.cli.output import printable, say
from tta_plugins.cli.streams import lost

REFUSED = 1
INTERRUPTED = 130
UsageError: Any = typer.BadParameter.__bases__[0]  # typer has a click of its own, or takes the installed one, and exports no name for it
OTHER_COMMANDS = {"bench": "tta_plugins.bench.commands", "studio": "tta_plugins.studio.command"}


class Commands(TyperGroup):
    """A group of commands that print `TTAError` as a message. Any other exception is a defect and keeps its traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the arguments before the command's name."""
        with _printable_usage_errors():
            return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands of this package, then those of other packages."""
        return [*super().list_commands(ctx), *OTHER_COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command. Commands of other packages are imported only here, since those packages may import this one."""
        if cmd_name not in OTHER_COMMANDS:
            return super().get_command(ctx, cmd_name)
        return typer.main.get_command(importlib.import_module(OTHER_COMMANDS[cmd_name]).app)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with _printable_usage_errors():
                result = super().invoke(ctx)
        except TTAError as error:
            say(f"tta: {error}", err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            say("tta: interrupted before there was anything to save.", err=True)
            raise typer.Exit(128 + error.number if isinstance(error, Interrupted) else INTERRUPTED) from error
        except SystemExit as error:
            say(f"tta: a plugin ended the command with sys.exit({error.code!r}). `tta doctor` lists the plugins.", err=True)
            raise typer.Exit(REFUSED) from error
        reason = lost(sys.stdout)
        if reason:
            say(f"tta: not all of the output could be written: {reason}.", err=True)
            if ctx.invoked_subcommand not in ("align", "edit"):  # its results are files
                raise typer.Exit(REFUSED)
        return result


@contextmanager
def _printable_usage_errors() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        error.message = printable(error.message)
        raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 success, 1 error, 2 wrong usage; 129, 130, 143: SIGHUP, Ctrl-C, SIGTERM (the best so far is saved).",
)
app.command("align")(align.align)
app.command("edit")(edit.edit)
app.command("list")(listing.list_entries)
app.command("show")(show.show)
app.command("score")(score.score)
app.command("plan")(plan.plan)
app.command("cite")(cite.cite)
app.command("doctor")(doctor.doctor)
app.command("plugins")(plugins.list_plugins)
app.command("new")(new.new)


def _version(given: bool) -> bool:
    if given:
        say(f"tta-align {importlib.metadata.version('tta-align')}")
        raise typer.Exit
    return given


@app.callback()
def tta(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Test-time alignment of text-to-image diffusion models."""
