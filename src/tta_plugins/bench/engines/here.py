"""Samples in this process: for tests, notebooks and debuggers."""

from collections.abc import Sequence
from pathlib import Path

import attrs

from tta_plugins.bench.cell_sampler import CellSampler
from tta_plugins.bench.engines import Progress
from tta_plugins.bench.plan import Unit, read_plan
from tta_plugins.bench.store import Store


@attrs.frozen
class Here:
    """Samples one unit after another in this process."""

    def sample(self, folder: Path, units: Sequence[Unit], progress: Progress) -> None:
        """See `Engine`."""
        sampler = CellSampler(read_plan(folder), Store(folder))
        for unit in units:
            sampler.unit(unit)
            if not progress(unit):
                return
