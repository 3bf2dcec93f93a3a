"""A run that the page requests: read from its boxes, and executed with the settings reader and the folder writer of `tta align`."""

import ast
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import attrs

import tta_core
from tta_core.errors import InputError
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Snapshot
from tta_core.running.folder import fresh, vacant
from tta_plugins.cli.interruption import Interruption
from tta_plugins.cli.prompts import prompts_of
from tta_plugins.cli.results import Ended, run_and_save
from tta_plugins.pages.film_strip import FilmStrip
from tta_plugins.studio.controls import Control
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


def request_of(given: Mapping[str, Any], chosen: Sequence[Any], controls: Sequence[Control], method: str) -> Request:
    """The run that the boxes describe: the form's values by name, and the values chosen for the settings of `method`.

    Raises `InputError` if the form has another method already, whose settings are not shown yet.
    """
    if given["method"] != method:
        raise InputError(f"The settings of {given['method']} are not loaded yet, so the run did not start. Press Run again.")
    written = [
        f"method.{control.name}={text}"
        for control, value in zip(controls, chosen, strict=True)
        if (text := control.written(value)) is not None
    ]
    return Request(
        prompt=given["prompt"] or "",
        method=method,
        reward=given["reward"],
        backbone=given["backbone"],
        memory=tuple(given["memory"]),
        steps=number("Steps", given["steps"]),
        guidance=number("Guidance", given["guidance"]),
        seed=number("Seed", given["seed"]) or 0,
        negative=given["negative"] or None,
        budget_seconds=number("Seconds", given["seconds"]),
        budget_evaluations=number("Evaluations", given["evaluations"]),
        settings=(*written, *filter(None, map(str.strip, (given["settings"] or "").splitlines()))),
    )


def number(label: str, text: str) -> Any:
    """The number in a box; None if the box is empty. Raises `InputError` for any other text."""
    try:
        return ast.literal_eval(text.strip()) + 0 if text.strip() else None
    except (ValueError, SyntaxError, TypeError) as error:
        raise InputError(f"{label} must be a number, but is {text!r}. Leave the box empty for the default.") from error


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
