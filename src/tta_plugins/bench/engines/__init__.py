"""Where cells are drawn. An engine only draws units; what has been drawn is what lies in the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from tta_core.errors import UnknownNameError
from tta_plugins.bench.plan import Unit


@runtime_checkable
class Progress(Protocol):
    """Told when a unit has been drawn."""

    def __call__(self, unit: Unit, /) -> bool:
        """Note it; False asks the engine to hand out no more."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Draws units into the folder's store, in any order; several may draw in one folder at different times, not at once."""

    def draw(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """Draw every unit, or stop when `progress` says so.

        Raises:
            TTAError: an arm cannot be made, or the engine is not there.
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
