"""Packs a comparison's results to publish them, and compares two comparisons with the same prompts."""

import hashlib
from pathlib import Path
from typing import Any

from tta_core.errors import IncompatibleError, InputError, LoadError
from tta_core.running.folder import writable
from tta_plugins.bench.files import object_of, save
from tta_plugins.bench.plan import read_plan
from tta_plugins.bench.scoring import identities_of
from tta_plugins.bench.summary import SCHEMA

_FILES = ("plan.json", "results.csv", "summary.json", "report.html")


def pack(folder: Path, out: Path) -> list[Path]:
    """Copy plan, table, summary, report and identities into a new folder, and write `SHA256SUMS`. Returns the files copied.

    Raises:
        InputError: the new folder is not empty.
        LoadError: the comparison is not finished.
    """
    plan = read_plan(folder)
    files = [*(folder / name for name in _FILES), *sorted(folder.glob("arms/*/identity.json")), *sorted(folder.glob("scores/*.json"))]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise LoadError(
            f"{folder} has no {', '.join(missing)}. `tta bench score {folder}` writes the missing files of {plan.spec.title!r}."
        )
    if any(writable(out).iterdir()):
        raise InputError(f"{out} is not empty. Give a new folder.")
    made = []
    for path in files:
        place = out / path.relative_to(folder)
        save(place, path.read_bytes())
        made.append(place)
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}\n" for path in made)
    save(out / "SHA256SUMS", sums.encode())
    return made


def compared(first: Path, second: Path) -> tuple[str, list[list[str]]]:
    """The primary score's name, and its gains in both comparisons for every arm that they share.

    Raises:
        IncompatibleError: the prompts, the primary score or the version of a reward differ.
    """
    summaries = [_summary(folder) for folder in (first, second)]
    digests = [summary["prompts"]["digest"] for summary in summaries]
    if digests[0] != digests[1]:
        raise IncompatibleError(
            f"Cannot compare {first} with {second}. This is because their prompts differ (digests {digests[0][:12]} and "
            f"{digests[1][:12]}). Run one of them on the prompts of the other."
        )
    primary = summaries[0]["primary"]
    if primary != summaries[1]["primary"]:
        raise IncompatibleError(
            f"Cannot compare {first} with {second}. This is because their primary scores are {primary} and {summaries[1]['primary']}. "
            "Compare their summary.json files yourself, or run one with the primary score of the other."
        )
    for name, identity in _rewards(first).items():
        other = _rewards(second).get(name)
        if other is not None and other != identity:
            raise IncompatibleError(
                f"Cannot compare {first} with {second}. This is because the reward {name} is {identity} in one and {other} in the other. "
                "Score both with the same version, with `tta bench score`."
            )
    gains = [{arm["name"]: arm["scores"][primary]["gain"] for arm in summary["arms"] if primary in arm["scores"]} for summary in summaries]
    rows = []
    for name in gains[0]:
        if name in gains[1]:
            one, two = gains[0][name], gains[1][name]
            rows.append([name, _shown(one), _shown(two), f"{two['mean'] - one['mean']:+.4f}"])
    return primary, rows


def _summary(folder: Path) -> dict[str, Any]:
    remedy = f"`tta bench score {folder}` writes the summary of a comparison."
    summary = object_of(folder / "summary.json", remedy)
    if summary.get("schema") != SCHEMA:
        raise LoadError(f"{folder / 'summary.json'} has the schema {summary.get('schema')!r}, but this version reads {SCHEMA}. {remedy}")
    return summary


def _rewards(folder: Path) -> dict[str, Any]:
    return {identity["name"]: identity for identity in identities_of(folder)}


def _shown(gain: dict[str, float | None]) -> str:
    return f"{gain['mean']:+.4f} [{_bound(gain['low'])}, {_bound(gain['high'])}]"


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:+.4f}"
