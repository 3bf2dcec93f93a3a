"""Writes a file completely or not at all: first to a hidden file in the same folder, which is then renamed.

If a process is killed, its incomplete file remains, hidden and named `.NAME.PROCESS.TOKEN.tta-part`. The next run that writes to the
folder removes it.
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
    """Write files by name, in this order. Ctrl-C and SIGTERM are held back until the last one is written.

    Raises `SaveError` if some cannot be written, after all others were written.
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
            f"{f'Written: {complete}. ' if complete else ''}Free disk space, or save to another folder."
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
    """The hidden name of a file while this thread writes it."""
    return f".{name}.{os.getpid()}.{_TOKEN}-{threading.get_ident():x}.tta-part"


def remove_parts(folder: Path) -> None:
    """Remove the hidden files of processes that no longer run. Raises `OSError`."""
    for path in folder.iterdir():
        named = _PART.fullmatch(path.name)
        if named and not _runs(int(named["process"]), named["token"]):
            path.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    """The text of an operating system's error, without number and path."""
    return getattr(error, "strerror", None) or str(error)


def _runs(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _TOKEN  # in containers each run may have the same process number
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
    """Flushes the renames to the disk. Some systems cannot open a folder, and some network disks do not support fsync: then it does
    nothing."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
