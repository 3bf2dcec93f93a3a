"""`tta score`: scores images on disk with one or several rewards."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tta_core.errors import InputError
from tta_core.running.prompt_files import read_prompts
from tta_plugins.cli.output import say, say_json

if TYPE_CHECKING:
    from tta_core.protocols.reward import Reward
    from tta_plugins.cli.scored_images import Row


def score(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    reward: Annotated[list[str], typer.Option("--reward", "-r", help="A reward's name; repeat it for several.")],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="One prompt for all images, or repeat it: one for each.")
    ] = None,
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="A file of prompts, as for align; see below.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column of --prompts with the prompts.", show_default="prompt")] = None,
    batch: Annotated[int, typer.Option(min=1, help="How many images of the same size are scored at once.")] = 8,
    device: Annotated[str, typer.Option(help="The device of the rewards' networks: cpu, cuda, cuda:1.")] = "cpu",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="REWARD.FIELD=VALUE", help="A setting of a reward, such as clip.scale=logit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the units, and a row for each image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a line for each image.")] = False,
) -> None:
    """Score images; higher is always better.

    A file of prompts has one prompt for each image, in order, or a column "image" with the image of each prompt. Rewards that do not read
    the prompt need none. An image that cannot be scored gets a row with its error, and the exit code is then 1.
    """
    from tta_core.protocols.reward import card_of
    from tta_plugins.cli.scored_images import files_of, paired, scored

    if as_json and as_csv:
        raise InputError("--json and --csv are both given, but only one can be printed. Give one.")
    if column is not None and prompts_file is None:
        raise InputError(f"--column {column} names a column of a file of prompts, but there is none. Give --prompts FILE, or leave it out.")
    rewards = _rewards(reward, settings or [])
    given = [*(prompt or []), *(read_prompts(prompts_file, column) if prompts_file else [])]
    if not given and any(card_of(model).reads_prompt for model in rewards.values()):
        readers = [name for name, model in rewards.items() if card_of(model).reads_prompt]
        raise InputError(f"{', '.join(readers)} needs a prompt. Give --prompt or --prompts.")
    rows = scored(paired(files_of(images), given), rewards, batch, device)
    _report(rows, {name: card_of(model).unit for name, model in rewards.items()}, as_json, as_csv)
    failed = sum(bool(row.error) for row in rows)
    if failed:
        say(f"tta: {failed} of {len(rows)} images could not be scored; their rows have the reasons.", err=True)
        raise typer.Exit(1)


def _rewards(names: list[str], settings: list[str]) -> "dict[str, Reward]":
    from typing import cast

    from tta_core.plugins.discovery import plugins
    from tta_core.protocols.reward import Reward
    from tta_plugins.cli.assignments import assigned
    from tta_plugins.cli.structure import construct

    chosen = assigned(settings, names)
    registry = plugins().registry
    return {name: cast(Reward, construct(registry.find("rewards", name), chosen[name])) for name in names}


def _report(rows: "list[Row]", units: dict[str, str], as_json: bool, as_csv: bool) -> None:
    if as_json:
        plain = [{"image": row.image, "prompt": str(row.prompt), "scores": dict(row.scores), "error": row.error} for row in rows]
        say_json({"units": units, "rows": plain})
        return
    headings = ["image", "prompt", *(f"{name} ({unit})" for name, unit in units.items())]
    if as_csv:
        import csv
        import io

        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "prompt", *units, "error"])
        table.writerows(
            [row.image, str(row.prompt), *(repr(row.scores[name]) if row.scores else "" for name in units), row.error] for row in rows
        )
        say(text.getvalue().removesuffix("\n"))
        return
    from tta_plugins.cli.tables import print_table

    shown = [[row.image, str(row.prompt), *(f"{row.scores[name]:.4f}" if row.scores else "failed" for name in units)] for row in rows]
    print_table(headings, shown, numbers=len(units))
    for row in rows:
        if row.error:
            say(f"{row.image}: {row.error}", err=True)
