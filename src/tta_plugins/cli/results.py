"""Saves a run first, then prints it."""

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
    """A run that has ended and was saved: what became of it, in which folder, why it failed if it did, and the command's exit code."""

    alignment: "Alignment"
    folder: Path
    failure: TTAError | None
    code: int

    def tell(self) -> None:
        """Print it, and end with the exit code."""
        report(self.alignment)
        if self.alignment.stopped:
            say(f"tta: {self.alignment.stopped}; the best so far was kept.", err=True)
        if self.failure is not None:
            say(f"tta: {self.failure}", err=True)
        if self.code:
            raise typer.Exit(self.code)


def kept(
    run: "Callable[[FilmStrip], Alignment]", backbone: "Backbone", interruption: "Interruption", folder: Path, overwrite: bool
) -> Ended:
    """Run, and save what came of it or was reached, with a film strip. Raises what leaves nothing to save."""
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
    """Save a run and say where; on a disk that fails, in a temporary folder. Gives the folder, and whether all of it could be saved in
    the one asked for."""
    try:
        place, failure = alignment.save(folder, overwrite), None
    except (InputError, SaveError) as error:
        place, failure = alignment.save(tempfile.mkdtemp(prefix="tta-align-")), error
    if failure is not None:
        say(f"tta: {failure}", err=True)
    say(f"Saved {_names(alignment)} in {place}{_page(alignment, place)}")
    return place, failure is None


def _with_strips(alignment: "Alignment", film: "FilmStrip", backbone: "Backbone") -> "Alignment":
    """The run with its look-aheads for the page; those that cannot be decoded, for lack of memory for instance, cost nothing else."""
    from tta_core.values.typing import evolve

    try:
        return evolve(alignment, look_aheads=film.decoded(backbone, len(alignment.prompts)))
    except Exception as error:
        say(f"tta: no look-aheads in {PAGE}: {error}", err=True)
        return alignment


def _page(alignment: "Alignment", folder: Path) -> str:
    """Write report.html beside the results, and say so; a page that cannot be made costs nothing else."""
    try:
        alignment.report(folder / PAGE)
    except Exception as error:  # a plugin's page may fail in any way
        say(f"tta: no {PAGE}: {error}", err=True)
        return ""
    return f", with {PAGE}"


def report(alignment: "Alignment") -> None:
    """Print a table of the scores, and what the run cost."""
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
