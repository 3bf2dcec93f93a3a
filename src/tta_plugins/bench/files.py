"""Files of a comparison: written completely or not at all, or with one JSON value per line, appended by runs that may be killed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tta_core.errors import LoadError, SaveError
from tta_core.running.atomic_files import reason, write


def save(path: Path, content: bytes) -> None:
    """Write a whole file, in a folder that is created if needed. Raises `SaveError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
    except OSError as error:
        raise _unwritable(path, error) from error


def append_line(path: Path, value: object) -> None:
    """Append a JSON value as one line in one write; an incomplete line of a killed run is closed first. Raises `SaveError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            incomplete = file.tell() > 0 and _last_byte(path) != b"\n"
            file.write((b"\n" if incomplete else b"") + json.dumps(value, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error


def lines_of(path: Path) -> Iterator[Any]:
    """The values of a file with one JSON value per line; incomplete or damaged lines are left out."""
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            yield json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue


def object_of(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file. Raises `LoadError` with the remedy if the file holds anything else."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(read, dict):
            raise ValueError(f"it holds {type(read).__name__}, not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError(f"{path} could not be read: {reason(error)}. {remedy}") from error
    return read


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _unwritable(path: Path, error: OSError) -> SaveError:
    return SaveError(f"Cannot write {path}: {reason(error)}. Free disk space, or give another folder. What was written is complete.")
