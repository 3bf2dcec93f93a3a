"""Shows the progress of a run on standard error: a live bar on a terminal, a few plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tta_plugins.cli.output import say

if TYPE_CHECKING:
    from torch import Tensor

    from tta_core.protocols.method import Snapshot

LINES = 10


@contextmanager
def watched() -> "Iterator[Callable[[Snapshot], None]]":
    """An observer that shows a run's progress while the context is open."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times, console=console) as progress:
        yield Bar(progress)


class Bar:
    """A live bar. Until the first snapshot it shows "preparing" (loading, encoding, the plain baseline)."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("preparing", total=None)

    def __call__(self, snapshot: "Snapshot") -> None:
        """Move the bar to this snapshot."""
        text = None if snapshot.scores is None else f"reward {_mean(snapshot.scores):.4f}"
        self._progress.update(self._task, completed=snapshot.index + 1, total=snapshot.total, description=text)


@attrs.define
class Lines:
    """Prints a line for each tenth of the run: step, mean reward, and seconds left at the speed since the first snapshot."""

    _started: float = attrs.field(default=math.nan, init=False)
    _printed: int = attrs.field(default=-1, init=False)
    _reward: str = attrs.field(default="", init=False)

    def __call__(self, snapshot: "Snapshot") -> None:
        """Print a line if another tenth of the run is done."""
        if math.isnan(self._started) or snapshot.index == 0:  # a batch that failed starts again, in halves
            self._started = time.monotonic()
        if snapshot.scores is not None:
            self._reward = f"  reward {_mean(snapshot.scores):.4f}"
        done = snapshot.index + 1
        tenth = done * LINES // snapshot.total
        if tenth == self._printed:
            return
        self._printed = tenth
        passed = time.monotonic() - self._started
        left = f"  {passed * (snapshot.total - done) / (done - 1):.0f} s left" if done > 1 else ""
        say(f"step {done}/{snapshot.total}{self._reward}{left}", err=True)


def _mean(scores: "Tensor") -> float:
    return scores.mean().item()
