"""Writes a file completely or not at all: under a hidden name beside its place, then renamed.

What a killed process leaves of a file is hidden, named `.NAME.PROCESS.TOKEN.tta-part`, and removed by the next run that writes there.
"""

import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tta_core.errors import SaveError
from tta_core.running.signals import signals_held

_TOKEN = secrets.token_hex(4)
_PART = re.compile(r"\..+\.(?P<process>\d+)\.(?P<token>[0-9a-f]+)-[0-9a-f]+\.tta-part")


def write_all(folder: Path, contents: Mapping[str, Callable[[], bytes]]) -> None:
    """Write files by name, in this order; Ctrl-C and SIGTERM wait for the last.

    Raises `SaveError` if some cannot be written, after all others are.
    """
    failures: dict[str, OSError] = {}
    with signals_held():
        for name, content in contents.items():
            try:
                write(folder / name, content())
            except OSError as error:
                failures[name] = error
        _sync_folder(folder)
    if failures:
        complete = ", ".join(name for name in contents if name not in failures)
        raise SaveError(
            f"Cannot write {', '.join(failures)} to {folder}: {', '.join(dict.fromkeys(map(reason, failures.values())))}. "
            f"{f'Complete there: {complete}. ' if complete else ''}Make room, or save to another folder."
        ) from next(iter(failures.values()))


def write(path: Path, content: bytes) -> None:
    """Write a file so that at any moment its path has either the whole new file or the old one. Raises `OSError`."""
    part = path.with_name(part_of(path.name))
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def part_of(name: str) -> str:
    """The hidden name of what this thread writes, until it is complete."""
    return f".{name}.{os.getpid()}.{_TOKEN}-{threading.get_ident():x}.tta-part"


def remove_parts(folder: Path) -> None:
    """Remove the hidden files of processes that no longer run. Raises `OSError`."""
    for path in folder.iterdir():
        named = _PART.fullmatch(path.name)
        if named and not _runs(int(named["process"]), named["token"]):
            path.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    """What an operating system's error says, without number and path."""
    return getattr(error, "strerror", None) or str(error)


def _runs(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _TOKEN  # containers give each run the same number
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """The renames reach the disk, too; some systems cannot open a folder, and some network disks have no such call."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
