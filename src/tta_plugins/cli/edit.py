"""`tta edit`: edits an image by a text, and saves the result."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tta_core.running.folder import fresh, vacant
from tta_plugins.cli import options

Inversion = Literal["ddpm-inversion", "null-text"]


def edit(
    image: Annotated[Path, typer.Argument(help="The image.")],
    target: Annotated[str, typer.Option(help="The text of the edit.")],
    source: Annotated[str, typer.Option(help="A text that describes the image.")] = "",
    inversion: Annotated[Inversion, typer.Option(help="Inverts to the noises, or to x_T and null embeddings.")] = "ddpm-inversion",
    strength: Annotated[float, typer.Option(help="Of ddpm-inversion: the fraction of the steps to run; less keeps more.")] = 0.64,
    source_guidance: Annotated[float, typer.Option(help="Of ddpm-inversion: the guidance for the source text.")] = 3.5,
    method: Annotated[str, typer.Option(help="A name from `tta list methods`; fixed edits by the text only.")] = "date",
    reward: options.Reward = "clip",
    backbone: options.Backbone = "shapes",
    device: options.Device = None,
    dtype: options.Dtype = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = "native",
    steps: options.Whole = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance of the edit; up to 1 is none.", show_default="the backbone's")] = None,
    seed: Annotated[int, typer.Option(help="The seed of the noise.")] = 0,
    negative: options.Negative = None,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    budget_seconds: options.BudgetSeconds = None,
    settings: options.Settings = None,
) -> None:
    """Edit an image by a text.

    First it finds the inputs that reproduce the image. From them it samples with the method (aligned.png) and plainly (baseline.png).

    Results are saved and signals are handled as by `tta align`.
    """
    import tta_core
    from tta_plugins.cli.interruption import interruptible
    from tta_plugins.cli.parts import loaded, parts, placed
    from tta_plugins.cli.progress import watched
    from tta_plugins.cli.results import run_and_save
    from tta_plugins.editing.edit import edit as edited
    from tta_plugins.pages.film_strip import FilmStrip

    with interruptible() as interruption:
        folder = fresh(vacant(options.DEFAULT_FOLDER) if out is None else out, overwrite)
        made = parts(placed(backbone, device, dtype), method, reward, memory or [], settings or [])
        model, scorer = loaded(made)

        def run(film: FilmStrip) -> tta_core.Alignment:
            with watched() as observer:
                return edited(
                    target,
                    image=image,
                    source=source,
                    inversion=inversion,
                    strength=strength,
                    source_guidance=source_guidance,
                    backbone=model,
                    method=made.method,
                    reward=scorer,
                    memory=made.memory,
                    scheduler=scheduler,
                    steps=steps,
                    guidance=guidance,
                    seed=seed,
                    negative=negative,
                    budget=tta_core.Budget(seconds=budget_seconds),
                    observers=[observer, interruption.observe, film.see],
                )

        ended = run_and_save(run, model, interruption, folder, overwrite)
    ended.report()
