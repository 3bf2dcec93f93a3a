"""A process that samples units. It reads each as a line of JSON from standard input, and answers with a line on standard output."""

import json
import os
import sys
from pathlib import Path

from tta_core.errors import TTAError
from tta_plugins.bench.plan import Cell, Unit, read_plan
from tta_plugins.bench.store import Store


def main() -> None:
    """Run `python -m tta_plugins.bench.worker FOLDER` until standard input ends. Output of the parts goes to standard error."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from tta_plugins.bench.cell_sampler import CellSampler

    folder = Path(sys.argv[1])
    sampler = CellSampler(read_plan(folder), Store(folder))
    for line in sys.stdin:
        refused = ""
        try:
            sampler.unit(unit_of(line))
        except TTAError as error:
            refused = str(error)
        answers.write(json.dumps({"refused": refused}) + "\n")
        answers.flush()


def line_of(unit: Unit) -> str:
    """A unit as one line."""
    return json.dumps([unit.arm, [[cell.prompt, cell.seed] for cell in unit.cells]])


def unit_of(line: str) -> Unit:
    """The unit in a line."""
    arm, cells = json.loads(line)
    return Unit(arm, tuple(Cell(*cell) for cell in cells))


if __name__ == "__main__":
    main()
