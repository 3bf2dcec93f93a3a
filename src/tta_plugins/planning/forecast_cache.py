"""Stores forecasts on disk, by a digest of everything that determines them. Reading one imports neither torch nor diffusers."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tta_core.plugins.registry import Entry

_PACKAGES = ("tta-align", "torch", "diffusers", "transformers")
_FIELDS = {"evaluations", "rows", "flops_per_row", "flops", "memory_bytes", "dominates", "policies"}
Record = dict[str, Any]


def folder() -> Path:
    """The folder of forecasts: `TTA_CACHE`, or `tta` in `XDG_CACHE_HOME` (by default ~/.cache)."""
    given, cache = os.environ.get("TTA_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(cache) if cache else Path.home() / ".cache") / "tta"


def key(arguments: Mapping[str, object], files: Iterable[Path], entries: Iterable[Entry]) -> str:
    """A digest of a run's arguments, the files that they name, the code of registered parts and of this package, the versions of libraries,
    and the memory of the machine, by which "auto" chooses."""
    versions = {name: _version(name) for name in _PACKAGES}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    digest = hashlib.sha256(json.dumps([dict(arguments), versions, memory], sort_keys=True, default=str).encode())
    for file in sorted({*files, *_sources(entries)}):
        digest.update(b"\0" + os.fsencode(file) + b"\0" + _content(file))
    return digest.hexdigest()


def load(name: str) -> Record | None:
    """The forecast of this key; None if there is none. A damaged file is ignored with a warning."""
    path = folder() / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not record.keys() >= _FIELDS:
            raise ValueError("it is not a forecast")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        warnings.warn(f"The cached forecast {path} cannot be read: {error}. The forecast is computed again.", stacklevel=2)
        return None
    return record


def save(name: str, record: Record) -> None:
    """Store a forecast. The file appears complete or not at all; if it cannot be written, there is a warning."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder(), suffix=".part", delete=False) as file:
            json.dump(record, file)
        os.replace(file.name, folder() / f"{name}.json")
    except OSError as error:
        warnings.warn(f"The forecast cannot be cached in {folder()}: {error}. Set TTA_CACHE to another folder.", stacklevel=2)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""  # the code that reads the file reports the error


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _sources(entries: Iterable[Entry]) -> set[Path]:
    """The Python files of this package, and the modules of registered parts."""
    packages = (importlib.util.find_spec(name) for name in ("tta_core", "tta_plugins"))
    files = {file for spec in packages if spec for place in spec.submodule_search_locations or () for file in Path(place).rglob("*.py")}
    for entry in entries:
        spec = importlib.util.find_spec(str(entry.target).partition(":")[0]) if isinstance(entry.target, str) else None
        files |= {Path(spec.origin)} if spec is not None and spec.origin else set()
    return files
