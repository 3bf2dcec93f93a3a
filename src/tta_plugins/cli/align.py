"""`tta align`: samples images that score higher, and saves them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tta_core.errors import InputError
from tta_core.running.folder import fresh, vacant
from tta_plugins.cli import options


def align(
    prompts: Annotated[list[str] | None, typer.Argument(help="One prompt or several.")] = None,
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="One prompt per line, or .json, .jsonl, .csv with facts.")
    ] = None,
    method: options.Method = "date",
    reward: options.Reward = "clip",
    backbone: options.Backbone = "shapes",
    device: options.Device = None,
    dtype: options.Dtype = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = "native",
    steps: options.Whole = None,
    timesteps: Annotated[str | None, typer.Option(help="The sampler's own times instead of steps, as in 999,749,499,249.")] = None,
    sigmas: Annotated[str | None, typer.Option(help="The sampler's own noise levels instead of steps.")] = None,
    guidance: options.Guidance = None,
    eta: Annotated[float | None, typer.Option(help="0 (deterministic) to 1 (ancestral).", show_default="the method's")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="One seed for all prompts, or repeat it: one for each.", show_default="0")] = None,
    negative: options.Negative = None,
    height: options.Whole = None,
    width: options.Whole = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image to start from; one for all prompts, or one for each.")] = None,
    strength: Annotated[float, typer.Option(help="With --image: the fraction of the steps to run; 1 keeps least of it.")] = 0.8,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    baseline: Annotated[bool, typer.Option("--baseline/--no-baseline", help="Also sample each prompt without the method.")] = True,
    budget_seconds: options.BudgetSeconds = None,
    budget_evaluations: Annotated[int | None, typer.Option(help="Stop after this many rows through the denoiser.")] = None,
    budget_flops: Annotated[float | None, typer.Option(help="Stop after this many floating-point operations, such as 1e15.")] = None,
    settings: options.Settings = None,
) -> None:
    """Sample images that score higher.

    Each prompt is also sampled plainly from the same noise, to compare, unless --no-baseline is given.

    Writes run.json, aligned.png, baseline.png and grid.png (baseline left, aligned right), each completely or not at all, before
    anything is printed. Ctrl-C, SIGTERM and SIGHUP keep the best so far.
    """
    import tta_core
    from tta_plugins.cli.interruption import interruptible
    from tta_plugins.cli.parts import loaded, parts, placed
    from tta_plugins.cli.progress import watched
    from tta_plugins.cli.prompts import prompts_of
    from tta_plugins.cli.results import run_and_save
    from tta_plugins.pages.film_strip import FilmStrip

    with interruptible() as interruption:
        texts = prompts_of(prompts or [], prompts_file)
        folder = fresh(vacant(options.DEFAULT_FOLDER) if out is None else out, overwrite)
        made = parts(placed(backbone, device, dtype), method, reward, memory or [], settings or [])
        model, scorer = loaded(made)

        def run(film: FilmStrip) -> tta_core.Alignment:
            with watched() as observer:
                return tta_core.align(
                    texts,
                    backbone=model,
                    method=made.method,
                    reward=scorer,
                    memory=made.memory,
                    scheduler=scheduler,
                    steps=steps,
                    timesteps=_numbers("timesteps", timesteps),
                    sigmas=_numbers("sigmas", sigmas),
                    guidance=guidance,
                    eta=eta,
                    seed=_seed(seed or [0]),
                    negative=negative,
                    height=height,
                    width=width,
                    image=image or None,
                    strength=strength,
                    baseline=baseline,
                    budget=tta_core.Budget(seconds=budget_seconds, evaluations=budget_evaluations, flops=budget_flops),
                    observers=[observer, interruption.observe, film.see],
                )

        ended = run_and_save(run, model, interruption, folder, overwrite)
    ended.report()


def _numbers(name: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--{name} must be numbers separated by commas, such as 999,749,499,249, but is {text!r}.") from error


def _seed(seeds: list[int]) -> Any:
    return seeds[0] if len(seeds) == 1 else seeds
