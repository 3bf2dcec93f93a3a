"""Jobs of a Slurm cluster, submitted with submitit. Its local executor runs the same jobs on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import LoadError
from tta_plugins.bench.cell_sampler import CellSampler
from tta_plugins.bench.engines import Progress
from tta_plugins.bench.plan import Unit, read_plan
from tta_plugins.bench.store import Store, complete
from tta_plugins.bench.worker import line_of, unit_of

_POLL = 1.0
_DAY = 24 * 60


@attrs.frozen
class Slurm:
    """`jobs` jobs, each with a share of the units. `cluster` is submitit's: "slurm", or "local".

    Set partition, account, GPUs and time in sbatch's environment variables (`SBATCH_PARTITION`, `SBATCH_GPUS`, ...), which override the
    defaults here: one task and a day. Cells that a job saved before it died are kept, and the same command again samples the others.
    """

    jobs: int
    cluster: str = "slurm"

    def sample(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """See `Engine`."""
        try:
            import submitit
        except ImportError as error:
            raise LoadError(f"The engine slurm needs submitit: {error}. Install it with `pip install 'tta-align[slurm]'`.") from error
        try:
            executor: Any = submitit.AutoExecutor(folder=folder / "logs" / "slurm", cluster=self.cluster)
        except (RuntimeError, ValueError) as error:
            raise LoadError(f"The engine {self.cluster} cannot be used here: {error}. Use slurm:local or local.") from error
        executor.update_parameters(name="tta-bench", timeout_min=_DAY, tasks_per_node=1)
        shares = [list(units[start :: self.jobs]) for start in range(min(self.jobs, len(units)))]
        jobs = [executor.submit(sample_share, str(folder.resolve()), [line_of(unit) for unit in share]) for share in shares]
        try:
            _follow(jobs, folder, units, progress)
        except BaseException:
            for job in jobs:
                job.cancel()
            raise


def sample_share(folder: str, lines: list[str]) -> None:
    """Sample a job's share of the units."""
    sampler = CellSampler(read_plan(Path(folder)), Store(Path(folder)))
    for line in lines:
        sampler.unit(unit_of(line))


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
            reason = next((str(job.exception()) for job in jobs if job.exception() is not None), "no job raised an error")
            raise LoadError(
                f"The jobs ended before {len(waiting)} batches were sampled: {reason}. See the logs in {folder / 'logs' / 'slurm'}, and "
                "run the command again to continue."
            )
        if not ended:
            time.sleep(_POLL)
