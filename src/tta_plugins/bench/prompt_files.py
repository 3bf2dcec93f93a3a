"""The prompts of a comparison, read from a file with their facts, and a record of how they were selected."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import InputError
from tta_core.running.prompt_files import read_prompts
from tta_core.values.prompts import Prompt, facts_of, with_facts

SHIPPED = Path(__file__).parent / "prompt_sets"


@attrs.frozen
class Choice:
    """Which prompts of a file are taken.

    Attributes:
        shuffle: a seed; None keeps the file's order.
        stratify: a column; each of its values gets the same number of prompts.

    Raises:
        InputError: `limit` or `skip` is negative.
    """

    file: str
    column: str = "prompt"
    limit: int | None = None
    skip: int = 0
    shuffle: int | None = None
    stratify: str = ""

    def __attrs_post_init__(self) -> None:
        if self.skip < 0 or (self.limit is not None and self.limit < 0):
            raise InputError(f"skip is {self.skip} and limit is {self.limit}, but they count prompts. Give numbers from 0 on.")


@attrs.frozen
class PromptSet:
    """The prompts taken, and a record of their file: its SHA-256, its rows, and how many were stripped or repeated."""

    prompts: tuple[Prompt, ...]
    record: Mapping[str, object]


def read_choice(choice: Choice, beside: Path) -> PromptSet:
    """The prompts of a file that `tta align --prompts` reads, or of a shipped set by its name.

    Args:
        choice: the file and which of its prompts to take.
        beside: the folder that a relative path starts from.

    Raises:
        LoadError: the file cannot be read, or lacks the column.
        InputError: no prompt is left.
    """
    path = _found(choice.file, beside)
    rows = read_prompts(path, choice.column)
    distinct: dict[str, Prompt] = {}
    for row in rows:
        distinct.setdefault(row.strip(), with_facts(row.strip(), _plain(facts_of(row))))
    taken = _taken(list(distinct.values()), choice)
    if not taken:
        raise InputError(
            f"No prompt of {path} is left: it has {len(rows)} rows, skip is {choice.skip} and limit is {choice.limit}. "
            "Give a smaller skip or a larger limit."
        )
    record = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(rows),
        "stripped": sum(row != row.strip() for row in rows),
        "repeated": len(rows) - len(distinct),
        "taken": len(taken),
        "digest": digest(taken),
    }
    return PromptSet(tuple(taken), record)


def digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of the prompts in their order, with their facts. Comparisons with equal digests used the same prompts."""
    plain = [[str(prompt), _plain(prompt.facts)] for prompt in prompts]
    return hashlib.sha256(json.dumps(plain, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _found(name: str, beside: Path) -> Path:
    shipped = SHIPPED / f"{name}.csv"
    return shipped if shipped.is_file() else beside / Path(name).expanduser()


def _plain(facts: Mapping[str, object]) -> dict[str, Any]:
    """Facts as a plan saves them: JSON, with paths as texts."""
    return dict(json.loads(json.dumps(dict(facts), default=str)))


def _taken(prompts: list[Prompt], choice: Choice) -> list[Prompt]:
    if choice.shuffle is not None:
        random.Random(choice.shuffle).shuffle(prompts)
    if choice.stratify:
        prompts = _interleaved(prompts, choice.stratify)
    return prompts[choice.skip :][: choice.limit]


def _interleaved(prompts: list[Prompt], column: str) -> list[Prompt]:
    """One prompt of each value in turn, so that every prefix has about the same number of each."""
    strata: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        if column not in prompt.facts:
            raise InputError(f"{prompt!r} has no {column!r} to stratify by. Its columns: {', '.join(prompt.facts) or 'none'}.")
        strata.setdefault(str(prompt.facts[column]), []).append(prompt)
    size = max(map(len, strata.values()), default=0)
    return [stratum[i] for i in range(size) for stratum in strata.values() if i < len(stratum)]
