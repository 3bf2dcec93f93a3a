"""The report's images: each arm's worst, median and best pair by a score that it did not optimise, and its film strips."""

from typing import Any

from PIL import Image

from tta_core.errors import LoadError
from tta_plugins.bench.gains import PLAIN
from tta_plugins.bench.plan import Cell, Plan
from tta_plugins.bench.results import Results
from tta_plugins.bench.spec import Arm
from tta_plugins.bench.statistics import paired
from tta_plugins.bench.store import Store
from tta_plugins.pages.data_uri import LARGEST, data_uri

_SMALL = LARGEST // 2


def held_out_of(plan: Plan, arm: Arm) -> str:
    """The score by which pairs are ordered: the primary score, or the first score that the arm did not optimise."""
    others = [reward for reward in (plan.primary, *plan.rewards) if reward != plan.target(arm)]
    return others[0] if others else plan.primary


def pairs(plan: Plan, results: Results, store: Store, arm: Arm) -> list[dict[str, Any]]:
    """The worst, median and best pair by the held-out gain, then by the target's gain. Empty if the images are missing."""
    held_out, target, plain = held_out_of(plan, arm), plan.target(arm), plan.arm(PLAIN)
    gains = paired(results.values(arm.name, held_out), results.values(PLAIN, held_out))
    target_gains = paired(results.values(arm.name, target), results.values(PLAIN, target))
    order = sorted(gains.keys() & target_gains.keys(), key=lambda pair: (gains[pair], target_gains[pair], pair))
    shown = []
    for word, place in (("worst", 0), ("median", len(order) // 2), ("best", len(order) - 1)) if order else ():
        cell = Cell(*order[place])
        files = store.image(plain, cell), store.image(arm, cell)
        if all(file.is_file() for file in files):
            shown.append(
                {
                    "word": word,
                    "text": plan.prompts[cell.prompt],
                    "held out": gains[order[place]],
                    "target": target_gains[order[place]],
                    **dict(zip(("before", "after"), map(_shown, files), strict=True)),
                }
            )
    return shown


def strips(plan: Plan, store: Store, arm: Arm) -> list[dict[str, Any]]:
    """The film strips that the folder has."""
    files = ((cell, store.strip(arm, cell)) for cell in plan.cells(arm) if cell.prompt < plan.spec.strips)
    return [{"text": plan.prompts[cell.prompt], "image": _shown(file, 1600)["image"]} for cell, file in files if file.is_file()]


def _shown(file: Any, largest: int = LARGEST) -> dict[str, str]:
    try:
        with Image.open(file) as image:
            return {"image": data_uri(image, largest), "scale": "small" if max(image.size) < _SMALL else ""}
    except OSError as error:
        raise LoadError(f"{file} could not be read: {error}. Delete it, and `tta bench run` samples it again.") from error
