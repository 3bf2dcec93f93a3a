"""The folder that results are written to; asked for before the work, so that an unwritable one costs nothing."""

from pathlib import Path

from tta_core.errors import InputError


def writable(folder: str | Path) -> Path:
    """The folder, made if need be. Raises `InputError` if nothing can be written there."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".tta-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"Cannot write to {path}: {error.strerror or error}. Give another output folder.") from error
    return path
