"""Jobs of a Slurm cluster, through submitit, whose local executor runs the same jobs on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import LoadError
from tta_plugins.bench.draw import Drawing
from tta_plugins.bench.engines import Progress
from tta_plugins.bench.plan import Unit, read_plan
from tta_plugins.bench.store import Store, complete
from tta_plugins.bench.worker import line_of, unit_of

_POLL = 1.0
_DAY = 24 * 60


@attrs.frozen
class Slurm:
    """`jobs` jobs, each with a share of the units. `cluster` is submitit's: "slurm", or "local".

    Partition, account, GPUs and time are sbatch's own environment variables (`SBATCH_PARTITION`, `SBATCH_GPUS`, ...), which win over what
    is asked for here: one task and a day. What a job that dies has kept stays; the same command again draws the rest.
    """

    jobs: int
    cluster: str = "slurm"

    def draw(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """See `Engine`."""
        try:
            import submitit
        except ImportError as error:
            raise LoadError(f"The engine slurm needs submitit: {error}. Install it with `pip install 'tta-align[slurm]'`.") from error
        executor: Any = submitit.AutoExecutor(folder=folder / "logs" / "slurm", cluster=self.cluster)
        executor.update_parameters(name="tta-bench", timeout_min=_DAY, tasks_per_node=1)
        shares = [list(units[start :: self.jobs]) for start in range(min(self.jobs, len(units)))]
        jobs = [executor.submit(draw_share, str(folder.resolve()), [line_of(unit) for unit in share]) for share in shares]
        try:
            _follow(jobs, folder, units, progress)
        except BaseException:
            for job in jobs:
                job.cancel()
            raise


def draw_share(folder: str, lines: list[str]) -> None:
    """What a job does."""
    drawing = Drawing(read_plan(Path(folder)), Store(Path(folder)))
    for line in lines:
        drawing.unit(unit_of(line))


def _follow(jobs: Sequence[Any], folder: Path, units: Sequence[Unit], progress: Progress) -> None:
    waiting = list(units)
    while waiting:
        ended = all(job.done() for job in jobs)
        finished = complete(read_plan(folder), Store(folder), waiting)
        for unit in finished:
            if not progress(unit):
                for job in jobs:
                    job.cancel()
                return
        waiting = [unit for unit in waiting if unit not in finished]
        if ended and waiting and not finished:
            told = next((str(job.exception()) for job in jobs if job.exception() is not None), "no job says why")
            raise LoadError(f"The jobs ended and left {len(waiting)} batches undrawn: {told}. The logs are in {folder / 'logs' / 'slurm'}.")
        if not ended:
            time.sleep(_POLL)
