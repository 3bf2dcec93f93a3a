"""Where cells are sampled. An engine samples units; the store alone records which cells exist."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from tta_core.errors import UnknownNameError
from tta_plugins.bench.plan import Unit


@runtime_checkable
class Progress(Protocol):
    """An engine calls it after each unit."""

    def __call__(self, unit: Unit, /) -> bool:
        """Record the unit. Returns False if the engine is to start no more units."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Samples units into the folder's store, in any order. Several engines may use one folder one after another, not at once."""

    def sample(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """Sample every unit, or stop when `progress` returns False.

        Raises:
            TTAError: an arm cannot be built, or the engine is not available.
        """
        ...


def engine_of(name: str, workers: int | None = None) -> Engine:
    """`here` (this process), `local` (supervised processes), `slurm`, `slurm:local` (submitit's local executor), `ray`, `ray:ADDRESS`."""
    kind, _, rest = name.partition(":")
    if kind == "here":
        from tta_plugins.bench.engines.here import Here

        return Here()
    if kind == "local":
        from tta_plugins.bench.engines.local import Local

        return Local(workers)
    if kind == "slurm":
        from tta_plugins.bench.engines.slurm import Slurm

        return Slurm(workers or 1, rest or "slurm")
    if kind == "ray":
        from tta_plugins.bench.engines.ray import Ray

        return Ray(workers or 1, rest or None)
    raise UnknownNameError(f"No engine is called {name!r}. Known: here, local, slurm, slurm:local, ray, ray:ADDRESS.")
