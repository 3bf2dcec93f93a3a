"""`tta score`: pictures on disk, by one reward or several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from tta_core.errors import InputError
from tta_plugins.cli.output import say_json

if TYPE_CHECKING:
    from tta_core.protocols.reward import Reward


@attrs.frozen
class Row:
    """One picture: its prompt, and its score by each reward's name."""

    image: str
    prompt: str
    scores: dict[str, float]


def score(
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    reward: Annotated[list[str], typer.Option("--reward", "-r", help="A reward's name; repeat it for several.")],
    prompt: Annotated[list[str], typer.Option("--prompt", "-p", help="One prompt for all pictures, or repeat it: one for each.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="REWARD.FIELD=VALUE", help="A setting of a reward, such as clip.scale=logit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: units, and a row for each picture.")] = False,
) -> None:
    """Score pictures; higher is always better."""
    from tta_core.protocols.reward import card_of

    if len(prompt) not in (1, len(images)):
        raise InputError(f"{len(prompt)} prompts for {len(images)} pictures. Give one prompt for all, or one for each picture, in order.")
    rewards = _rewards(reward, settings or [])
    rows = _rows(images, prompt * len(images) if len(prompt) == 1 else prompt, rewards)
    units = {name: card_of(model).unit for name, model in rewards.items()}
    if as_json:
        say_json({"units": units, "rows": [attrs.asdict(row) for row in rows]})
        return
    from tta_plugins.cli.tables import print_table

    headings = ["picture", "prompt", *(f"{name} ({units[name]})" for name in rewards)]
    cells = [[row.image, row.prompt, *(f"{value:.4f}" for value in row.scores.values())] for row in rows]
    print_table(headings, cells, numbers=len(rewards))


def _rewards(names: list[str], settings: list[str]) -> "dict[str, Reward]":
    from typing import cast

    from tta_core.plugins.discovery import plugins
    from tta_core.protocols.reward import Reward
    from tta_plugins.cli.assignments import assigned
    from tta_plugins.cli.structure import construct

    chosen = assigned(settings, names)
    registry = plugins().registry
    return {name: cast(Reward, construct(registry.find("rewards", name), chosen[name])) for name in names}


def _rows(images: list[Path], prompts: list[str], rewards: "dict[str, Reward]") -> list[Row]:
    import torch

    from tta_core.protocols.reward import networks_of
    from tta_core.running.frozen_networks import frozen_networks
    from tta_core.solving.from_image import as_pixels
    from tta_core.solving.scoring import checked
    from tta_plugins.cli.images import read_picture

    networks = [network for model in rewards.values() for network in networks_of(model).values()]
    rows = []
    with torch.no_grad(), frozen_networks(networks):
        for path, prompt in zip(images, prompts, strict=True):
            picture = as_pixels(read_picture(path), 1)
            rows.append(Row(str(path), prompt, {name: checked(model, picture, [prompt]).item() for name, model in rewards.items()}))
    return rows
