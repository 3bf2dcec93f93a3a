"""`tta align`: draw prompts so that they score higher, and save what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tta_core.errors import InputError, LoadError
from tta_core.running.folder import writable

if TYPE_CHECKING:
    from tta_core.running.alignment import Alignment

Whole = Annotated[int | None, typer.Option(show_default="the backbone's")]
Dtype = Literal["float32", "float16", "bfloat16"]


def align(
    prompts: Annotated[list[str] | None, typer.Argument(help="One prompt or several.")] = None,
    prompts_file: Annotated[Path | None, typer.Option("--prompts", metavar="FILE", help="A text file with one prompt a line.")] = None,
    method: Annotated[str, typer.Option(help="A name from `tta list methods`.")] = "date",
    reward: Annotated[str, typer.Option(help="A name from `tta list rewards`.")] = "clip",
    backbone: Annotated[str, typer.Option(help="A name, or a folder or hub id in diffusers' layout.")] = "shapes",
    device: Annotated[str | None, typer.Option(help="For a folder or hub id: cpu, cuda, cuda:1.", show_default="cuda if there")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="For a folder or hub id.", show_default="bfloat16 on cuda, else float32")] = None,
    memory: Annotated[list[str] | None, typer.Option(help="A memory policy; repeat it for several, applied in order.")] = None,
    scheduler: Annotated[str, typer.Option(help="A name from `tta list schedulers`.")] = "native",
    steps: Whole = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none.", show_default="the backbone's")] = None,
    eta: Annotated[float | None, typer.Option(help="0 deterministic to 1 ancestral.", show_default="the method's")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="One for all prompts, or repeat it: one for each.", show_default="0")] = None,
    negative: Annotated[str | None, typer.Option(help="A negative prompt.")] = None,
    height: Whole = None,
    width: Whole = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to start from; one for all prompts, or one for each.")] = None,
    strength: Annotated[float, typer.Option(help="With --image: the share of the steps taken from there; 1 keeps least.")] = 0.8,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("tta-out"),
    budget_seconds: Annotated[float | None, typer.Option(help="Stop after so long, with the best so far.")] = None,
    budget_evaluations: Annotated[int | None, typer.Option(help="Stop after so many rows through the denoiser.")] = None,
    budget_flops: Annotated[float | None, typer.Option(help="Stop after so many floating-point operations, such as 1e15.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE.FIELD=VALUE", help="A setting of a part, as in method.rho=0.7."),
    ] = None,
) -> None:
    """Draw prompts so that they score higher.

    Each is drawn once more plainly from the same noise, to compare.

    Writes aligned.png, baseline.png, grid.png (baseline left, aligned right) and run.json. Ctrl-C keeps the best so far.
    """
    import tta_core
    from tta_plugins.cli.images import read_picture
    from tta_plugins.cli.parts import parts, placed
    from tta_plugins.cli.progress import watched

    texts = _texts(prompts or [], prompts_file)
    folder = writable(out)
    made = parts(placed(backbone, device, dtype), method, reward, memory or [], settings or [])
    with watched() as observer:
        alignment = tta_core.align(
            texts,
            backbone=made.backbone,
            method=made.method,
            reward=made.reward,
            memory=made.memory,
            scheduler=scheduler,
            steps=steps,
            guidance=guidance,
            eta=eta,
            seed=_seed(seed or [0]),
            negative=negative,
            height=height,
            width=width,
            image=[read_picture(path) for path in image] if image else None,
            strength=strength,
            budget=tta_core.Budget(seconds=budget_seconds, evaluations=budget_evaluations, flops=budget_flops),
            observers=[observer],
        )
    _report(alignment)
    alignment.save(folder)
    typer.echo(f"Saved aligned.png, baseline.png, grid.png and run.json in {folder}")
    if alignment.stopped:
        typer.echo(f"tta: {alignment.stopped}; the best so far was kept.", err=True)
    if alignment.interrupted:
        raise typer.Exit(130)


def _texts(prompts: list[str], file: Path | None) -> list[str]:
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LoadError(f"{file} could not be read as prompts: {error}. Give a UTF-8 text file with one prompt a line.") from error
        prompts = [*prompts, *(line.strip() for line in lines if line.strip())]
    if not prompts:
        raise InputError('There is no prompt. Give one in quotes, as in `tta align "a red circle"`, or a file of them with --prompts.')
    return prompts


def _seed(seeds: list[int]) -> Any:
    return seeds[0] if len(seeds) == 1 else seeds


def _report(alignment: "Alignment") -> None:
    from tta_plugins.cli.tables import print_table

    before, after = alignment.baseline.scores, alignment.scores
    rows = [_row(*numbers, unit=after.unit) for numbers in zip(alignment.prompts, before, after, strict=True)]
    if len(rows) > 1:
        rows.append(_row("mean", before.mean, after.mean, after.unit))
    print_table(["prompt", "unit", "baseline", "aligned", "difference"], rows, numbers=3)
    typer.echo(str(alignment.cost))


def _row(prompt: str, before: float, after: float, unit: str) -> list[str]:
    return [prompt, unit, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
