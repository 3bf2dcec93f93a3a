"""Reads prompts from a file: one text per line, or a table with a column of prompts and columns of facts."""

import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from tta_core.errors import InputError, LoadError
from tta_core.running.atomic_files import reason
from tta_core.values.prompts import with_facts

Row = tuple[str, dict[str, object]]  # the place in the file, and the values by column


def read_prompts(path: str | Path, column: str | None = None) -> list[str]:
    """The prompts of a file, in its order.

    `.jsonl`: one object per line. `.json`: a list of texts or objects. `.csv` and `.tsv`: a header, then one row per prompt. In these, the
    column "prompt" (or `column`) is the text, and every other column is a fact; an empty cell means no fact. "questions" are [[question,
    answer], ...], in a CSV as JSON; a relative path in "reference" starts at the file's folder. Any other file: one text per line. Only a
    line feed, with or without a carriage return, ends a line. Blank lines are skipped, with a warning.

    Raises:
        LoadError: the file cannot be read or is not UTF-8, a line is malformed, a column is missing; the message names file and line.
        InputError: there is no prompt in it.
    """
    path = Path(path)
    read = _READERS.get(path.suffix.lower(), _lines)
    rows = list(read(_text(path), path))
    prompts = [_prompt(row, place, path, column) for place, row in rows]
    if not prompts:
        raise InputError(f"{path} holds no prompt. Write one per line.")
    return prompts


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} could not be read as prompts: {reason(error)}. Give a UTF-8 text, .json, .jsonl or .csv file.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LoadError(f"{path}, line {line}, is not UTF-8 ({error.reason}). Save the file as UTF-8.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise LoadError(f"{path}, line {line}, holds a null character, so it is not a text file. Save the file as UTF-8.")
    return text


def _split(text: str, path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, with their places; only a line feed ends one."""
    lines = re.split(r"\r?\n", text.removesuffix("\n"))
    blank = sum(not line.strip() for line in lines)
    if blank:
        warnings.warn(f"{path}: {blank} blank line(s) skipped.", stacklevel=4)
    return ((f"line {number}", line.strip(" \t")) for number, line in enumerate(lines, start=1) if line.strip())


def _lines(text: str, path: Path) -> Iterator[Row]:
    return ((place, {"prompt": line}) for place, line in _split(text, path))


def _json_lines(text: str, path: Path) -> Iterator[Row]:
    return (_row(_parsed(line, path, place), path, place) for place, line in _split(text, path))


def _json_list(text: str, path: Path) -> Iterator[Row]:
    listed = _parsed(text, path, "line 1")
    if not isinstance(listed, list):
        raise LoadError(f"{path} is not a JSON list, but begins with {text[:60]!r}. Write a list of texts or objects, or a .jsonl file.")
    return (_row(value, path, f"entry {number}") for number, value in enumerate(listed, start=1))


def _parsed(text: str, path: Path, place: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}, {place}: not JSON ({error}). Write one object for each prompt.") from error


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises `ValueError` if two of its values have the same name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"two values have the same name: {', '.join(name for name, _ in pairs)}")
    return made


def _row(value: object, path: Path, place: str) -> Row:
    row = {"prompt": value} if isinstance(value, str) else value
    if not isinstance(row, dict):
        raise LoadError(f'{path}, {place}: {str(row)[:60]} is not an object. Write {{"prompt": "...", ...}}.')
    return place, row


def _table(delimiter: str) -> Callable[[str, Path], Iterator[Row]]:
    def read(text: str, path: Path) -> Iterator[Row]:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            if len(set(header)) < len(header):
                raise LoadError(
                    f"{path}, line 1: two columns have the same name, or none: {', '.join(header)}. Give each column its own name."
                )
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise LoadError(
                        f"{path}, line {rows.line_num}: {len(cells)} cells, but the header has {len(header)}. Quote cells with commas."
                    )
                yield f"line {rows.line_num}", {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
        except csv.Error as error:
            raise LoadError(f"{path}, line {rows.line_num}: {error}.") from error

    return read


def _prompt(row: dict[str, object], place: str, path: Path, column: str | None) -> str:
    alike = [name for name in row if name.lower() == "prompt"]
    if column is None and len(alike) > 1:
        raise LoadError(f"{path}, {place}: {' and '.join(alike)} may both be the prompt. Give the name of the column of prompts.")
    named = column or (alike or ["prompt"])[0]
    text, facts = row.get(named), {name: value for name, value in row.items() if name != named}
    if not isinstance(text, str) or not text.strip():
        raise LoadError(
            f"{path}, {place}: no text in the column {named!r}; it has {', '.join(row) or 'nothing'}. Give the name of the "
            "column of prompts."
        )
    if not facts:
        return text
    try:
        if isinstance(facts.get("questions"), str):
            facts["questions"] = json.loads(str(facts["questions"]))
        if isinstance(facts.get("reference"), str):
            facts["reference"] = path.parent / str(facts["reference"])
        return with_facts(text, facts)
    except (InputError, ValueError) as error:
        raise LoadError(f"{path}, {place}: {error}") from error


_READERS = {".jsonl": _json_lines, ".json": _json_list, ".csv": _table(","), ".tsv": _table("\t")}
