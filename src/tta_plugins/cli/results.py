"""Runs, saves the result, and then prints it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import typer

from tta_core.errors import InputError, SaveError, TTAError
from tta_plugins.cli.output import say
from tta_plugins.cli.tables import print_table

PAGE = "report.html"

if TYPE_CHECKING:
    from tta_core.protocols.backbone import Backbone
    from tta_core.running.alignment import Alignment
    from tta_plugins.cli.interruption import Interruption
    from tta_plugins.pages.film_strip import FilmStrip


@attrs.frozen
class Ended:
    """A run that has ended and was saved.

    Attributes:
        alignment: its result, or the best so far.
        folder: where it was saved.
        failure: the error that ended it, if one did.
        code: the command's exit code.
    """

    alignment: "Alignment"
    folder: Path
    failure: TTAError | None
    code: int

    def report(self) -> None:
        """Print it, and end with the exit code."""
        print_scores(self.alignment)
        if self.alignment.stopped:
            say(f"tta: {self.alignment.stopped}; the best so far was saved.", err=True)
        if self.failure is not None:
            say(f"tta: {self.failure}", err=True)
        if self.code:
            raise typer.Exit(self.code)


def run_and_save(
    run: "Callable[[FilmStrip], Alignment]", backbone: "Backbone", interruption: "Interruption", folder: Path, overwrite: bool
) -> Ended:
    """Run, and save the result or the best so far, with a film strip. An error that leaves nothing to save is raised."""
    from tta_plugins.pages.film_strip import FilmStrip

    film = FilmStrip()
    failure = None
    try:
        alignment = run(film)
    except TTAError as error:
        if error.partial is None:
            raise
        alignment, failure = error.partial, error
    interruption.finishing = True
    place, is_there = save(_with_strips(alignment, film, backbone), folder, overwrite)
    return Ended(alignment, place, failure, interruption.exit_code or int(failure is not None or not is_there))


def save(alignment: "Alignment", folder: Path, overwrite: bool) -> tuple[Path, bool]:
    """Save a run and print where; if the folder fails, in a temporary one. Returns the folder, and whether it is the one given."""
    try:
        place, failure = alignment.save(folder, overwrite), None
    except (InputError, SaveError) as error:
        place, failure = alignment.save(tempfile.mkdtemp(prefix="tta-align-")), error
    if failure is not None:
        say(f"tta: {failure}", err=True)
    say(f"Saved {_names(alignment)} in {place}{_page(alignment, place)}")
    return place, failure is None


def _with_strips(alignment: "Alignment", film: "FilmStrip", backbone: "Backbone") -> "Alignment":
    """The run with its look-aheads for the page. If they cannot be decoded, it prints the reason and goes on without them."""
    from tta_core.values.typing import evolve

    try:
        return evolve(alignment, look_aheads=film.decoded(backbone, len(alignment.prompts)))
    except Exception as error:
        say(f"tta: no look-aheads in {PAGE}: {error}", err=True)
        return alignment


def _page(alignment: "Alignment", folder: Path) -> str:
    """Write report.html next to the results; returns text that says so. If it cannot be written, it prints the reason and goes on."""
    try:
        alignment.report(folder / PAGE)
    except Exception as error:  # a plugin's page may fail in any way
        say(f"tta: no {PAGE}: {error}", err=True)
        return ""
    return f", with {PAGE}"


def print_scores(alignment: "Alignment") -> None:
    """Print a table of the scores, and the cost of the run."""
    unit = alignment.scores.unit
    rows = [[prompt, unit, *numbers] for prompt, *numbers in alignment.table()]
    if len(rows) > 1 and alignment.baseline is not None:
        before, after = alignment.baseline.scores.mean, alignment.scores.mean
        rows.append(["mean", unit, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"])
    print_table(["prompt", "unit", "baseline", "aligned", "difference"], rows, numbers=3)
    say(alignment.cost)


def _names(alignment: "Alignment") -> str:
    samples, kinds = len(alignment.prompts), ["aligned"] if alignment.baseline is None else ["aligned", "baseline"]
    if samples == 1:
        images = ", ".join(f"{kind}.png" for kind in kinds)
    else:
        images = f"{' and '.join(f'{samples} {kind}' for kind in kinds)} images"
    return f"run.json, {images} and grid.png"
