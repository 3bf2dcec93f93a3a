"""Files of records, one a line, to which a run that may be killed at any moment appends."""

import os
from pathlib import Path


def append_line(path: Path, line: str) -> None:
    """Append one line in one write; a line that a killed run left torn is closed first, and no reader takes it for a record."""
    with path.open("ab+") as file:
        torn = file.tell() > 0 and _last_byte(path) != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
