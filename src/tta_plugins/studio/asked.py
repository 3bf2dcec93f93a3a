"""What the page asks for, and the run of it: with the settings reader and the folder writer of `tta align`."""

from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs

import tta_core
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Snapshot
from tta_core.running.folder import fresh, vacant
from tta_plugins.cli.interruption import Interruption
from tta_plugins.cli.prompts import prompts_of
from tta_plugins.cli.results import Ended, kept
from tta_plugins.pages.film_strip import FilmStrip
from tta_plugins.studio.models import Models


@attrs.frozen
class Asked:
    """A run as the page asks for it; each field is the option of `tta align` of that name. `settings` are its `--set`."""

    prompt: str
    method: str = "date"
    reward: str = "clip"
    backbone: str = "shapes"
    memory: tuple[str, ...] = ()
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    negative: str | None = None
    budget_seconds: float | None = None
    budget_evaluations: int | None = None
    settings: tuple[str, ...] = ()


@runtime_checkable
class Watching(Protocol):
    """Sees each snapshot of a run, and the backbone that can decode it."""

    def __call__(self, backbone: Backbone, snapshot: Snapshot, /) -> object:
        """Look at a snapshot."""
        ...


def draw(asked: Asked, models: Models, runs: Path, interruption: Interruption, watch: Watching) -> Ended:
    """Run it, and save it in a new folder among the runs. Raises what leaves nothing to save, as `tta align` does."""
    prompts = prompts_of([asked.prompt] if asked.prompt.strip() else [], None)
    folder = fresh(vacant(runs / "run"))
    made, drawing, judge = models.parts(asked.backbone, asked.method, asked.reward, asked.memory, asked.settings)

    def run(film: FilmStrip) -> tta_core.Alignment:
        return tta_core.align(
            prompts,
            backbone=drawing,
            method=made.method,
            reward=judge,
            memory=made.memory,
            steps=asked.steps,
            guidance=asked.guidance,
            seed=asked.seed,
            negative=asked.negative,
            budget=tta_core.Budget(seconds=asked.budget_seconds, evaluations=asked.budget_evaluations),
            observers=[partial(watch, drawing), interruption.observe, film.see],
        )

    return kept(run, drawing, interruption, folder, overwrite=False)
