"""The commands of `tta bench`. Each imports what it uses when it runs, so that `tta --help` stays fast."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tta_core.errors import InputError, LoadError
from tta_plugins.cli.output import say

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Compare methods at equal cost, with intervals and verdicts."
)

NEEDED = ("cattrs", "jinja2", "matplotlib", "scipy")


@app.callback()
def bench() -> None:
    """Compare methods at equal cost, with intervals and verdicts."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise LoadError(f"tta bench needs {', '.join(missing)}. Install it with `pip install 'tta-align[bench]'`.")


Folder = Annotated[Path, typer.Argument(help="The folder of a comparison.")]
Names = Annotated[list[str] | None, typer.Option(help="A reward's name; repeat it for several.")]


@app.command()
def run(
    toml: Annotated[Path | None, typer.Argument(help="A bench.toml; without it, the comparison in --out is continued.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to, or to continue in.")] = Path("tta-bench"),
    engine: Annotated[str, typer.Option(help="local, here, slurm, slurm:local, ray, or ray:ADDRESS.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, jobs or actors.", show_default="one per GPU, else 1")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Sample this arm and 'fixed' only; repeat it for several arms.")] = None,
    retry: Annotated[str | None, typer.Option(metavar="failed", help="Sample failed cells once more.")] = None,
    budget_hours: Annotated[float | None, typer.Option(help="Start no new batch after this many hours.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the predicted cost, and sample nothing.")] = False,
    device: Annotated[str, typer.Option(help="The device of --dry-run's hours: h100, a100, l40s, 4090, 3090, cpu-core.")] = "a100",
) -> None:
    """Sample what is missing, score it, and write results.csv, summary.json and report.html. Run the same command again to continue."""
    from tta_plugins.bench.engines import engine_of
    from tta_plugins.bench.finish import finish
    from tta_plugins.bench.plan import read_plan, resolve_plan
    from tta_plugins.bench.run import refuse_failed, sample
    from tta_plugins.cost.collection import collection_paused

    if retry not in (None, "failed"):
        raise InputError(f"--retry takes 'failed', but {retry!r} was given.")
    plan = read_plan(out) if toml is None else resolve_plan(toml)
    if dry_run:
        with collection_paused():
            from tta_plugins.bench.dry_run import predicted_lines

            for line in predicted_lines(plan, device, only or ()):
                say(line)
        return
    say(_plan_line(plan.record))
    state = sample(plan, out, engine_of(engine, workers), only=only or (), retry_failed=retry == "failed", budget_hours=budget_hours)
    say(f"{state.done} of {state.planned} cells sampled, {state.failed} failed in {out}")
    if state.stopped:
        say(f"tta: stopped early: {state.stopped}.", err=True)
    _print_summary(finish(plan, out), out)
    refuse_failed(state)


@app.command()
def status(folder: Folder) -> None:
    """Print how many cells are done, failed and left, the rate, and the errors."""
    from tta_plugins.bench.plan import read_plan
    from tta_plugins.bench.status import status_of
    from tta_plugins.cli.tables import print_table

    now = status_of(read_plan(folder), folder)
    rows = [[arm.name, str(arm.done), str(arm.failed), str(arm.left), _number(arm.seconds, ".3g")] for arm in now.arms]
    print_table(["arm", "done", "failed", "left", "seconds per image"], rows, numbers=4)
    left = now.seconds_left
    say("No rate is known yet." if left is None else f"One worker needs {left / 3600:.2f} more hours.")
    if now.idle is not None:
        say(f"The last cell was saved {now.idle:.0f} s ago.")
    for arm in now.arms:
        for error, count in arm.errors.items():
            say(f"{arm.name}: {count} x {error}")


@app.command()
def score(folder: Folder, reward: Names = None) -> None:
    """Score the images in the folder, also with further rewards, without sampling."""
    from tta_plugins.bench.finish import finish
    from tta_plugins.bench.plan import read_plan

    _print_summary(finish(read_plan(folder), folder, tuple(reward or ())), folder)


@app.command()
def report(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="The file to write.", show_default="report.html in the folder")] = None,
) -> None:
    """Write the report again from plan.json, results.csv and the images in the folder."""
    from tta_plugins.bench.finish import rewrite

    say(f"Wrote {rewrite(folder, out or folder / 'report.html')}")


@app.command()
def pack(folder: Folder, out: Annotated[Path, typer.Argument(help="A new folder, to publish.")]) -> None:
    """Copy the files that others need to check a comparison: plan, results, summary, report and identities, with SHA-256; no images."""
    from tta_plugins.bench.sharing import pack as packed

    say(f"Packed {len(packed(folder, out))} files into {out}")


@app.command()
def compare(first: Folder, second: Folder) -> None:
    """Print the gains of two comparisons side by side. Their prompts, primary score and rewards must be the same."""
    from tta_plugins.bench.sharing import compared
    from tta_plugins.cli.tables import print_table

    score, rows = compared(first, second)
    print_table(["arm", f"{score}: {first}", f"{score}: {second}", "difference"], rows, numbers=3)


@app.command()
def init(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name; without it, all are listed.")] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("bench.toml"),
) -> None:
    """Write a bench.toml to start from: presets that run without downloads, and papers' tables, which need model weights."""
    from tta_plugins.bench.recipes import recipes, write_recipe

    if recipe is None:
        for name, title in recipes().items():
            say(f"{name:24} {title}")
        return
    say(f"Wrote {write_recipe(recipe, out)}. Next: tta bench run {out} --dry-run")


def _plan_line(record: object) -> str:
    from collections.abc import Mapping

    assert isinstance(record, Mapping)
    counts = ", ".join(f"{record[name]} {name}" for name in ("stripped", "repeated") if record[name])
    return f"{record['taken']} of {record['rows']} prompts of {record['file']}{f' ({counts})' if counts else ''}"


def _print_summary(summary: object, folder: Path) -> None:
    from typing import Any, cast

    from tta_plugins.cli.tables import print_table

    known = cast(dict[str, Any], summary)
    rows = []
    for arm in known["arms"]:
        gains = [
            f"{arm['scores'][name]['gain']['mean']:+.3f}" if name in arm["scores"] else "-" for name in (arm["target"], known["primary"])
        ]
        verdict = arm.get("verdict")
        rows.append([arm["name"], verdict["word"] if verdict else "-", _number(arm["cost"]["in plain draws"], ".3g"), *gains])
    print_table(["arm", "verdict", "cost", "target", f"primary: {known['primary']}"], rows, numbers=3)
    say(f"Wrote results.csv, summary.json and report.html in {folder}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
