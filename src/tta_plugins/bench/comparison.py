"""A comparison from Python: `compare` samples it in this process, and a notebook displays its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tta_plugins.bench.charts import forest
from tta_plugins.bench.engines.here import Here
from tta_plugins.bench.finish import finish
from tta_plugins.bench.plan import plan_of
from tta_plugins.bench.prompt_files import read_choice
from tta_plugins.bench.run import RunState, refuse_failed, sample
from tta_plugins.bench.spec import spec_of
from tta_plugins.pages.render import render


@attrs.frozen
class Comparison:
    """A comparison's folder, which holds `report.html`; its summary, as in `summary.json`; and how many cells were sampled."""

    folder: Path
    summary: Mapping[str, Any] = attrs.field(repr=False)
    state: RunState

    def _repr_html_(self) -> str:
        """The view in a notebook: each arm's verdict, cost and gains, and the primary score's intervals."""
        figure = forest(self.summary, self.summary["primary"])
        return render("comparison.html", {"comparison": self, "summary": self.summary, "forest": figure})


def compare(written: Mapping[str, Any], folder: str | Path) -> Comparison:
    """Sample in this process what the folder lacks, score it, and write `results.csv`, `summary.json` and `report.html`.

    Args:
        written: the contents of a `bench.toml`, as plain data. A prompt file's path is relative to the working directory.
        folder: a new folder, or one that holds this same comparison, which is continued.

    Raises:
        InputError: an entry of `written` is wrong, or the folder holds something else.
        TTAError: an arm cannot be built, or more cells failed than `fail_on` allows; the other cells stay in the folder.
    """
    spec = spec_of(written, "the comparison")
    plan = plan_of(spec, read_choice(spec.prompts, Path()))
    state = sample(plan, Path(folder), Here())
    comparison = Comparison(Path(folder), finish(plan, Path(folder)), state)
    refuse_failed(state)
    return comparison
