"""Finds installed and broken plugins, for `tta doctor` and `tta plugins` to print."""

import importlib.metadata
import platform
import re

import attrs

from tta_core.errors import TTAError
from tta_core.plugins.discovery import OWN, Found, plugins
from tta_core.plugins.registry import KINDS, Entry


@attrs.frozen
class Diagnosed:
    """One plugin, the names that it registers, and its problems. `status` is "ok", "broken" or "blocked"."""

    found: Found
    entries: tuple[Entry, ...]
    problems: tuple[str, ...]

    @property
    def status(self) -> str:
        """The status. Blocked plugins are not examined."""
        return "blocked" if self.found.blocked else "broken" if self.problems else "ok"

    def plain(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "plugin": self.found.name,
            "package": self.found.distribution,
            "version": self.found.version,
            "status": self.status,
            "problems": list(self.problems),
            "registers": {kind: names for kind in KINDS if (names := [entry.name for entry in self.entries if entry.kind == kind])},
        }


def diagnosed(load: bool) -> list[Diagnosed]:
    """Every plugin that was found. `load` also imports the objects that it registers."""
    return [_diagnosed(found, load) for found in plugins().found]


def _diagnosed(found: Found, load: bool) -> Diagnosed:
    registry = plugins().registry
    entries = tuple(entry for kind in KINDS for entry in registry.entries(kind) if entry.plugin == str(found))
    if found.problem:
        return Diagnosed(found, entries, (found.problem,))
    return Diagnosed(found, entries, tuple(failure for entry in entries if load for failure in _failures(entry)))


def _failures(entry: Entry) -> list[str]:
    try:
        entry.load()
    except TTAError as error:
        return [str(error)]
    return []


def environment() -> dict[str, object]:
    """Python, the system, and the installed versions of tta-align's requirements, extras included."""
    required = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in importlib.metadata.requires(OWN) or []}
    versions = {name: version for name in sorted({OWN, *required}) if (version := _version(name))}
    return {"python": platform.python_version(), "system": platform.platform(), "versions": versions}


def accelerators() -> list[dict[str, object]]:
    """The CUDA devices that torch finds, each with its name and its memory in bytes."""
    import torch

    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory": device.total_memory} for device in devices]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
