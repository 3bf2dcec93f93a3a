"""Prompts of a comparison, read from a file with their facts; what was stripped, dropped or chosen is recorded."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import InputError, LoadError
from tta_core.running.prompt_files import read_prompts
from tta_core.values.prompts import Prompt, facts_of, with_facts

SHIPPED = Path(__file__).parent / "prompt_sets"


@attrs.frozen
class Choice:
    """Which prompts of a file are taken: `shuffle` is a seed, `stratify` a column of whose values each gives equally many."""

    file: str
    column: str = "prompt"
    limit: int | None = None
    skip: int = 0
    shuffle: int | None = None
    stratify: str = ""


@attrs.frozen
class PromptSet:
    """The prompts taken, and a record of their file: its SHA-256, rows, blanks stripped and repetitions dropped."""

    prompts: tuple[Prompt, ...]
    record: Mapping[str, object]


def read_choice(choice: Choice, beside: Path) -> PromptSet:
    """The prompts of a file, as `tta align --prompts` reads it, of a `.json` list, or of a shipped set by its name.

    Raises:
        LoadError: the file cannot be read, or has no such column.
        InputError: nothing is left to take.
    """
    path = _found(choice.file, beside)
    rows = _listed(path, choice.column) if path.suffix.lower() == ".json" else read_prompts(path, choice.column)
    seen: dict[str, Prompt] = {}
    for row in rows:
        seen.setdefault(row.strip(), with_facts(row.strip(), _plain(facts_of(row))))
    taken = _taken(list(seen.values()), choice)
    if not taken:
        raise InputError(f"{path} leaves no prompt to draw: {len(rows)} rows, skip {choice.skip}, limit {choice.limit}. Take more.")
    record = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(rows),
        "stripped": sum(row != row.strip() for row in rows),
        "repeated": len(rows) - len(seen),
        "taken": len(taken),
        "digest": digest(taken),
    }
    return PromptSet(tuple(taken), record)


def digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of the prompts in their order, with their facts: two comparisons with one digest drew the same prompts."""
    plain = [[str(prompt), _plain(prompt.facts)] for prompt in prompts]
    return hashlib.sha256(json.dumps(plain, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _found(name: str, beside: Path) -> Path:
    shipped = SHIPPED / f"{name}.csv"
    return shipped if shipped.is_file() else beside / Path(name).expanduser()


def _listed(path: Path, column: str) -> list[Prompt]:
    """A JSON list of texts, or of objects with a text under `column`."""
    try:
        rows = [{column: row} if isinstance(row, str) else dict(row) for row in json.loads(path.read_text(encoding="utf-8-sig"))]
        return [with_facts(row.pop(column), row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LoadError(f"{path} is no JSON list of texts, or of objects with a text under {column!r}: {error!r}.") from error


def _plain(facts: Mapping[str, object]) -> dict[str, Any]:
    """Facts as they stand in a plan: JSON, paths as texts."""
    return dict(json.loads(json.dumps(dict(facts), default=str)))


def _taken(prompts: list[Prompt], choice: Choice) -> list[Prompt]:
    if choice.shuffle is not None:
        random.Random(choice.shuffle).shuffle(prompts)
    if choice.stratify:
        prompts = _interleaved(prompts, choice.stratify)
    return prompts[choice.skip :][: choice.limit]


def _interleaved(prompts: list[Prompt], column: str) -> list[Prompt]:
    """One of each value in turn, so that a prefix holds equally many of each."""
    strata: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        if column not in prompt.facts:
            raise InputError(f"{prompt!r} has no {column!r} to stratify by. Its columns: {', '.join(prompt.facts) or 'none'}.")
        strata.setdefault(str(prompt.facts[column]), []).append(prompt)
    size = max(map(len, strata.values()), default=0)
    return [stratum[i] for i in range(size) for stratum in strata.values() if i < len(stratum)]
