"""Actors of a Ray cluster, each with one loaded pipeline.

Ray does not resume a run, and waits forever for resources that no node has. This module handles both.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import LoadError
from tta_plugins.bench.engines import Progress
from tta_plugins.bench.plan import Unit, read_plan
from tta_plugins.bench.store import Store
from tta_plugins.bench.worker import line_of, unit_of

_RESTARTS = 2


@attrs.frozen
class Ray:
    """`actors` actors, each with one GPU if the cluster has GPUs. `address` None starts a cluster on this machine.

    The folder must be on a file system that every node shares.
    """

    actors: int
    address: str | None = None

    def sample(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """See `Engine`."""
        try:
            import ray
        except ImportError as error:
            raise LoadError(f"The engine ray needs Ray: {error}. Install it with `pip install 'tta-align[ray]'`.") from error
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a local start would write a token into the home folder
        try:
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
        except Exception as error:
            raise LoadError(f"Ray could not be reached at {self.address or 'this machine'}: {error}. Give ray:ADDRESS.") from error
        try:
            _sample(ray, self.actors, folder.resolve(), units, progress)
        finally:
            ray.shutdown()


def _sample(ray: Any, actors: int, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
    resources = ray.cluster_resources()
    gpus = resources.get("GPU", 0)
    room = int(gpus or resources.get("CPU", 0))
    if actors > room:
        raise LoadError(
            f"--workers is {actors}, but the cluster has {room} {'GPUs' if gpus else 'CPUs'}, and Ray would wait forever. "
            f"Give --workers {room} or fewer."
        )
    made = ray.remote(num_cpus=0 if gpus else 1, num_gpus=1 if gpus else 0, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)(_Actor)
    waiting = [line_of(unit) for unit in units]
    running: dict[Any, tuple[Any, Unit]] = {}
    idle = [made.remote(str(folder)) for _ in range(min(actors, len(units)))]
    while waiting or running:
        while waiting and idle:
            actor, line = idle.pop(), waiting.pop(0)
            running[actor.sample.remote(line)] = actor, unit_of(line)
        (ended, *_), _ = ray.wait(list(running), num_returns=1)
        actor, unit = running.pop(ended)
        try:
            ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            raise LoadError(f"A batch of {unit.arm!r} could not be sampled: {error.cause}.") from error
        except ray.exceptions.RayActorError as error:
            raise LoadError(
                f"An actor died {_RESTARTS + 1} times while sampling a batch of {unit.arm!r}: {error}. Run the command again to continue."
            ) from error
        if not progress(unit):
            return
        idle.append(actor)


class _Actor:
    """Samples in its own process."""

    def __init__(self, folder: str) -> None:
        from tta_plugins.bench.cell_sampler import CellSampler

        self.sampler = CellSampler(read_plan(Path(folder)), Store(Path(folder)))

    def sample(self, line: str) -> None:
        """Sample one unit."""
        self.sampler.unit(unit_of(line))
