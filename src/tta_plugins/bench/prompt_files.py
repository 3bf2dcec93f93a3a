"""Prompts of a comparison, read from a file with their facts; what was stripped, dropped or chosen is recorded."""

import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tta_core.errors import InputError, LoadError

SHIPPED = Path(__file__).parent / "prompt_sets"


@attrs.frozen
class Prompt:
    """A prompt, and the other columns of its row."""

    text: str
    facts: Mapping[str, str] = attrs.field(factory=dict)


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


def read_prompts(choice: Choice, beside: Path) -> PromptSet:
    """The prompts of `.txt`, `.csv`, `.tsv`, `.json` or `.jsonl`, or of a shipped set by its name.

    Raises:
        LoadError: the file cannot be read, or has no such column.
        InputError: nothing is left to take.
    """
    path = _found(choice.file, beside)
    try:
        content = path.read_bytes()
        rows = _rows(path.suffix.lower(), content.decode("utf-8-sig"), choice.column)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise LoadError(f"{path} could not be read as prompts: {error}. Give UTF-8 .txt, .csv, .tsv, .json or .jsonl.") from error
    seen: dict[str, Prompt] = {}
    for row in rows:
        seen.setdefault(row.text.strip(), Prompt(row.text.strip(), row.facts))
    seen.pop("", None)
    taken = _taken(list(seen.values()), choice)
    if not taken:
        raise InputError(f"{path} leaves no prompt to draw: {len(rows)} rows, skip {choice.skip}, limit {choice.limit}. Take more.")
    record = {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(rows),
        "stripped": sum(row.text != row.text.strip() for row in rows),
        "repeated": len(rows) - len(seen) - sum(not row.text.strip() for row in rows),
        "taken": len(taken),
        "digest": digest(taken),
    }
    return PromptSet(tuple(taken), record)


def digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of the prompts in their order, with their facts: two comparisons with one digest drew the same prompts."""
    plain = [[prompt.text, sorted(prompt.facts.items())] for prompt in prompts]
    return hashlib.sha256(json.dumps(plain, ensure_ascii=False).encode()).hexdigest()


def _found(name: str, beside: Path) -> Path:
    shipped = SHIPPED / f"{name}.csv"
    return shipped if shipped.is_file() else beside / Path(name).expanduser()


def _rows(suffix: str, text: str, column: str) -> list[Prompt]:
    if suffix == ".txt":
        return [Prompt(line) for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if suffix in (".csv", ".tsv"):
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",")
        if column not in (table.fieldnames or ()):
            raise ValueError(f"it has no column {column!r} but {', '.join(table.fieldnames or ())}; name one with prompts.column")
        return [_prompt(row, column) for row in table]
    if suffix == ".jsonl":
        return [_prompt(json.loads(line), column) for line in text.split("\n") if line.strip()]
    if suffix == ".json":
        return [_prompt(row, column) for row in json.loads(text)]
    raise ValueError(f"{suffix or 'a file without a suffix'} is no kind of file that holds prompts")


def _prompt(row: object, column: str) -> Prompt:
    if isinstance(row, str):
        return Prompt(row)
    if not isinstance(row, Mapping) or not isinstance(row.get(column), str):
        raise ValueError(f"{str(row)[:80]!r} has no text under {column!r}")
    facts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items() if name and name != column}
    return Prompt(row[column], facts)


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
            raise InputError(f"{prompt.text!r} has no {column!r} to stratify by. Its columns: {', '.join(prompt.facts) or 'none'}.")
        strata.setdefault(prompt.facts[column], []).append(prompt)
    size = max(map(len, strata.values()), default=0)
    return [stratum[i] for i in range(size) for stratum in strata.values() if i < len(stratum)]
