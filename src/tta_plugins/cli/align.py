"""`tta align`: draw prompts so that they score higher, and save what came of it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tta_core.errors import InputError
from tta_core.running.folder import fresh, vacant

Whole = Annotated[int | None, typer.Option(show_default="the backbone's")]
DEFAULT_FOLDER = Path("tta-out")
OUT = "The folder to write to. One that holds another run's results is refused before the run."
Dtype = Literal["float32", "float16", "bfloat16"]


def align(
    prompts: Annotated[list[str] | None, typer.Argument(help="One prompt or several.")] = None,
    prompts_file: Annotated[Path | None, typer.Option("--prompts", metavar="FILE", help="One a line; or .jsonl, .csv with facts.")] = None,
    method: Annotated[str, typer.Option(help="A name from `tta list methods`.")] = "date",
    reward: Annotated[str, typer.Option(help="A name from `tta list rewards`.")] = "clip",
    backbone: Annotated[str, typer.Option(help="A name, or a folder or hub id in diffusers' layout.")] = "shapes",
    device: Annotated[str | None, typer.Option(help="For a folder or hub id: cpu, cuda, cuda:1.", show_default="cuda if there")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="For a folder or hub id.", show_default="bfloat16 on cuda, else float32")] = None,
    memory: Annotated[list[str] | None, typer.Option(help="A memory policy; repeat it for several, applied in order.")] = None,
    scheduler: Annotated[str, typer.Option(help="A name from `tta list schedulers`.")] = "native",
    steps: Whole = None,
    timesteps: Annotated[str | None, typer.Option(help="The sampler's own times instead of steps, as in 999,749,499,249.")] = None,
    sigmas: Annotated[str | None, typer.Option(help="The sampler's own noise levels instead of steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Up to 1 is none.", show_default="the backbone's")] = None,
    eta: Annotated[float | None, typer.Option(help="0 deterministic to 1 ancestral.", show_default="the method's")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="One for all prompts, or repeat it: one for each.", show_default="0")] = None,
    negative: Annotated[str | None, typer.Option(help="A negative prompt.")] = None,
    height: Whole = None,
    width: Whole = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image to start from; one for all prompts, or one for each.")] = None,
    strength: Annotated[float, typer.Option(help="With --image: the share of the steps taken from there; 1 keeps least.")] = 0.8,
    out: Annotated[Path | None, typer.Option(help=OUT, show_default="tta-out, or tta-out-2 ... where that has a run")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of another run in the folder.")] = False,
    baseline: Annotated[bool, typer.Option("--baseline/--no-baseline", help="Draw each prompt plainly too.")] = True,
    budget_seconds: Annotated[float | None, typer.Option(help="Stop after so long, with the best so far.")] = None,
    budget_evaluations: Annotated[int | None, typer.Option(help="Stop after so many rows through the denoiser.")] = None,
    budget_flops: Annotated[float | None, typer.Option(help="Stop after so many floating-point operations, such as 1e15.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE.FIELD=VALUE", help="A setting of a part, as in method.rho=0.7."),
    ] = None,
) -> None:
    """Draw prompts so that they score higher.

    Each is drawn once more plainly from the same noise, to compare, unless --no-baseline.

    Writes run.json, aligned.png, baseline.png and grid.png (baseline left, aligned right), each complete or not at all, before anything
    is printed. Ctrl-C, SIGTERM and SIGHUP keep the best so far.
    """
    import tta_core
    from tta_plugins.cli.interruption import interruptible
    from tta_plugins.cli.parts import loaded, parts, placed
    from tta_plugins.cli.progress import watched
    from tta_plugins.cli.prompts import prompts_of
    from tta_plugins.cli.results import kept
    from tta_plugins.pages.film_strip import FilmStrip

    with interruptible() as interruption:
        texts = prompts_of(prompts or [], prompts_file)
        folder = fresh(vacant(DEFAULT_FOLDER) if out is None else out, overwrite)
        made = parts(placed(backbone, device, dtype), method, reward, memory or [], settings or [])
        drawing, judge = loaded(made)

        def run(film: FilmStrip) -> tta_core.Alignment:
            with watched() as observer:
                return tta_core.align(
                    texts,
                    backbone=drawing,
                    method=made.method,
                    reward=judge,
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

        ended = kept(run, drawing, interruption, folder, overwrite)
    ended.tell()


def _numbers(name: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--{name} is {text!r}, but it takes numbers with commas between them, such as 999,749,499,249.") from error


def _seed(seeds: list[int]) -> Any:
    return seeds[0] if len(seeds) == 1 else seeds
