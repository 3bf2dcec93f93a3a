"""Files with one record per line. A run appends to them, and may be killed at any moment."""

import os
from pathlib import Path


def append_line(path: Path, line: str) -> None:
    """Append one line in one write; an incomplete line of a killed run is closed first, and readers ignore it."""
    with path.open("ab+") as file:
        incomplete = file.tell() > 0 and _last_byte(path) != b"\n"
        file.write((b"\n" if incomplete else b"") + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
