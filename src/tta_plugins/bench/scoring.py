"""The second pass: scores every saved image with every reward, as it is and after JPEG. A new reward needs no new samples."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from PIL import Image
from torch import Tensor

from tta_core.errors import InputError, LoadError
from tta_core.protocols.reward import Reward, card_of, networks_of
from tta_core.running.frozen_networks import frozen_networks
from tta_core.solving.scoring import checked
from tta_core.values.images import as_pixels, to_pil
from tta_plugins.bench.files import append_line, lines_of, object_of, save
from tta_plugins.bench.identity import digest_of, without_places
from tta_plugins.bench.panel import PANEL, panel
from tta_plugins.bench.parts import Parts
from tta_plugins.bench.plan import Cell, Plan, slug
from tta_plugins.bench.store import Store

QUALITY = 95
Place = tuple[str, Cell]
SCORE_AGAIN = "Delete it and the .jsonl file of the same name, and score again with `tta bench score`."


@attrs.frozen
class Scores:
    """Scores on disk, one file per reward. Each line has an arm, a prompt, a seed and the numbers."""

    folder: Path

    def path(self, name: str) -> Path:
        """The file of one reward, or of the panel."""
        return self.folder / "scores" / f"{slug(name)}.jsonl"

    def names(self) -> list[str]:
        """The rewards that have scored images of this folder, in the order of their files."""
        return [identity["name"] for identity in identities_of(self.folder)]

    def read(self, name: str) -> dict[Place, dict[str, float]]:
        """The scores by arm and cell. Damaged lines are left out."""
        scores: dict[Place, dict[str, float]] = {}
        path = self.path(name)
        for line in lines_of(path) if path.is_file() else ():
            match line:
                case [str(arm), int(prompt), int(seed), dict(numbers)]:
                    scores[arm, Cell(prompt, seed)] = numbers
        return scores

    def add(self, name: str, place: Place, numbers: Mapping[str, float]) -> None:
        """Append the numbers of one image."""
        arm, cell = place
        append_line(self.path(name), [arm, cell.prompt, cell.seed, dict(numbers)])

    def identify(self, name: str, reward: Reward) -> None:
        """Save which version of the reward scores. Raises `InputError` if the existing scores are another version's."""
        identity = {
            "name": name,
            "reward": without_places(repr(reward)),
            "version": card_of(reward).version,
            "unit": card_of(reward).unit,
            "weights": {role: digest_of(network) for role, network in networks_of(reward).items()},
        }
        path = self.path(name).with_suffix(".json")
        if not path.is_file():
            save(path, (json.dumps(identity, indent=1) + "\n").encode())
        saved = object_of(path, SCORE_AGAIN)
        if saved != identity:
            raise InputError(
                f"{path} was written by another version of the reward {name!r} ({saved} then, {identity} now). Delete {self.path(name)} "
                "and its .json to score all images again."
            )


def score(plan: Plan, folder: Path, rewards: tuple[str, ...] = ()) -> int:
    """Score the images that have no score yet; returns how many were scored.

    Each image is scored alone, with its JPEG, so that its numbers do not depend on other images.

    Raises:
        TTAError: a reward is unknown, raises, or returns something other than scores. Earlier scores are kept.
    """
    store, scores, parts, count = Store(folder), Scores(folder), Parts(plan), 0
    torch.set_num_threads(plan.spec.threads)
    done = {name: {cell for cell, record in cells.items() if record["status"] == "done"} for name, cells in store.all_cells(plan).items()}
    cells = [(arm.name, cell) for arm in plan.arms for cell in plan.cells(arm) if cell in done[arm.name]]
    for name in rewards or plan.rewards:
        reward = parts.reward(name)
        scores.identify(name, reward)
        known = scores.read(name)
        with torch.no_grad(), frozen_networks(networks_of(reward).values()):
            for place in cells:
                if place not in known:
                    image = _image(store, plan, place)
                    values = checked(reward, torch.cat([image, jpeg(image)]), [plan.prompts[place[1].prompt]] * 2).tolist()
                    scores.add(name, place, {"png": _rounded(values[0]), "jpeg": _rounded(values[1])})
                    count += 1
    known = scores.read(PANEL)
    for place in cells:
        if place not in known:
            numbers = panel(_image(store, plan, place))
            scores.add(PANEL, place, {name: _rounded(value) for name, value in numbers.items()})
    return count


def identities_of(folder: Path) -> list[dict[str, Any]]:
    """The names and versions of the rewards that have scored images of a comparison. Raises `LoadError` for a damaged file."""
    identities = [object_of(path, SCORE_AGAIN) for path in sorted(folder.glob("scores/*.json"))]
    return [identity for identity in identities if isinstance(identity.get("name"), str)]


def jpeg(image: Tensor) -> Tensor:
    """An image `(1, 3, H, W)` in [0, 1] after JPEG at quality 95."""
    buffer = io.BytesIO()
    to_pil(image[0]).save(buffer, "jpeg", quality=QUALITY)
    return as_pixels(Image.open(buffer), 1)


def _image(store: Store, plan: Plan, place: Place) -> Tensor:
    path = store.image(plan.arm(place[0]), place[1])
    try:
        with Image.open(path) as image:
            return as_pixels(image, 1)
    except OSError as error:
        raise LoadError(f"{path} could not be read: {error}. Delete it, and `tta bench run` samples it again.") from error


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
