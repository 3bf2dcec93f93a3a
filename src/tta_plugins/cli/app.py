"""The commands, gathered; and what every one of them does with a refusal or an interruption.

Exit codes: 0 done; 1 refused or failed, with the reason on standard error; 2 the command line itself is wrong; 130 interrupted.
"""

import importlib.metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tta_core.errors import TTAError
from tta_plugins.cli import align, cite, doctor, listing, new, plan, score, show

REFUSED = 1
INTERRUPTED = 130


class Commands(TyperGroup):
    """A group of commands whose refusals are messages, not tracebacks. Any other exception is a defect and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except TTAError as error:
            typer.echo(f"tta: {error}", err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            typer.echo("tta: interrupted before there was anything to keep.", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted (what was reached is kept).",
)
app.command("align")(align.align)
app.command("list")(listing.list_entries)
app.command("show")(show.show)
app.command("score")(score.score)
app.command("plan")(plan.plan)
app.command("cite")(cite.cite)
app.command("doctor")(doctor.doctor)
app.command("new")(new.new)


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"tta-align {importlib.metadata.version('tta-align')}")
        raise typer.Exit
    return asked


@app.callback()
def tta(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Test-time alignment of text-to-image diffusion models."""
