"""The folder of a run's results: checked before the run, and never used for two runs."""

import os
import re
from itertools import count
from pathlib import Path

from tta_core.errors import InputError
from tta_core.running.atomic_files import part_of, reason, remove_parts
from tta_core.values.arguments import shown

RECORD = "run.json"
GRID = "grid.png"
_RESULT = re.compile(r"run\.json|grid\.png|report\.html|(aligned|baseline)(-\d+)?\.png")


def image_names(kind: str, samples: int) -> list[str]:
    """`aligned.png`, or `aligned-00.png` and so on, with enough digits that the names sort in the order of the samples."""
    digits = max(2, len(str(samples - 1)))
    return [f"{kind}.png"] if samples == 1 else [f"{kind}-{sample:0{digits}d}.png" for sample in range(samples)]


def place(folder: object) -> Path:
    """The argument as a path. Raises `InputError` if it is not one."""
    if not isinstance(folder, str | os.PathLike):
        raise InputError(f"The path to write to is {shown(folder)}, but it takes a path, such as 'runs/one'.")
    return Path(folder)


def writable(folder: str | Path) -> Path:
    """Creates the folder if needed and removes incomplete files of killed processes. Raises `InputError` if it is not writable."""
    path = place(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        remove_parts(path)
        probe = path / part_of("probe")
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot write to {path}: {reason(error)}. Give another output folder.") from error
    return path


def fresh(folder: str | Path, overwrite: bool = False) -> Path:
    """The folder, writable and ready for a new run. Raises `InputError` if it holds another run's results, or folders with such names."""
    path = writable(folder)
    held = _results_in(path)
    blocking = [result.name for result in held if result.is_dir()]
    if blocking:
        raise InputError(f"Cannot write to {path}: {blocking[0]} is a folder there. Remove it, or give another output folder.")
    if held and not overwrite:
        raise InputError(
            f"{path} holds the results of another run ({held[0].name}), and the results of two runs are not mixed. Give another output "
            "folder, or overwrite that run: --overwrite on the command line, overwrite=True in Python."
        )
    return path


def vacant(folder: str | Path) -> Path:
    """The folder, if it holds no results; else the first of folder-2, folder-3 ... that does not exist or holds none."""
    path = place(folder)
    named = path if path.name not in ("", "..") else path.resolve()
    names = (path if number == 1 else named.with_name(f"{named.name}-{number}") for number in count(1))
    return next(name for name in names if not name.exists() or (name.is_dir() and not _results_in(name)))


def emptied(folder: str | Path, record: bytes, overwrite: bool) -> Path:
    """The folder to save this record in: the given one, or `vacant` of it if another run's results are there and must stay.

    Overwriting removes the other run's results. A run that is saved again keeps its folder. Raises `InputError` as `writable` does.
    """
    path = writable(folder)
    held = _results_in(path)
    blocked = any(result.is_dir() for result in held)
    if not blocked and (not held or _is_same(path / RECORD, record)):
        return path
    if blocked or not overwrite:
        return writable(vacant(path))
    for result in sorted(held, key=lambda result: result.name != RECORD):
        result.unlink()
    return path


def _is_same(file: Path, record: bytes) -> bool:
    return file.is_file() and file.read_bytes() == record


def _results_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _RESULT.fullmatch(path.name))
    except OSError:  # a folder that cannot be read is refused by `writable`
        return []
