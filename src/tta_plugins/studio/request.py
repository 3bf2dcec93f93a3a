"""A run that the page requests, and its execution with the settings reader and the folder writer of `tta align`."""

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
from tta_plugins.cli.results import Ended, run_and_save
from tta_plugins.pages.film_strip import FilmStrip
from tta_plugins.studio.models import Models


@attrs.frozen
class Request:
    """A requested run. Each field is the option of `tta align` with that name; `settings` are its `--set`."""

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
class Watcher(Protocol):
    """Gets each snapshot of a run, and the backbone that can decode it."""

    def __call__(self, backbone: Backbone, snapshot: Snapshot, /) -> object:
        """Handle a snapshot."""
        ...


def execute(request: Request, models: Models, runs: Path, interruption: Interruption, watch: Watcher) -> Ended:
    """Run a request, and save the result in a new folder in `runs`. As in `tta align`, errors that leave nothing to save are raised."""
    prompts = prompts_of([request.prompt] if request.prompt.strip() else [], None)
    folder = fresh(vacant(runs / "run"))
    made, backbone, reward = models.parts(request.backbone, request.method, request.reward, request.memory, request.settings)

    def run(film: FilmStrip) -> tta_core.Alignment:
        return tta_core.align(
            prompts,
            backbone=backbone,
            method=made.method,
            reward=reward,
            memory=made.memory,
            steps=request.steps,
            guidance=request.guidance,
            seed=request.seed,
            negative=request.negative,
            budget=tta_core.Budget(seconds=request.budget_seconds, evaluations=request.budget_evaluations),
            observers=[partial(watch, backbone), interruption.observe, film.see],
        )

    return run_and_save(run, backbone, interruption, folder, overwrite=False)
