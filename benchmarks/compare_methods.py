"""Every method on the embedded model: paired gains over plain sampling, in the reward that was climbed and in judges that were not.

    python benchmarks/compare_methods.py [--pairs 48] [--rows NAME ...] [--out FOLDER]

Prints a markdown table. A pair is a prompt and a seed; every row draws the same pairs from the same x_T. Gains are means over pairs with
95 % intervals (1.96 standard errors of the paired differences). *Evaluations* are rows through the denoiser
for one image, forwards and backwards.
"""

import argparse
import json
import math
import random
from pathlib import Path

import torch
from attrs import frozen

import tta_core as tta
from tta_core.solving.steering import Adam, AdamW
from tta_core.values.schedules import Every, Fraction
from tta_core.values.typing import evolve
from tta_plugins.methods.baselines import BestOfN, Fixed, RandomDirection
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.shapes import oracle
from tta_plugins.shapes.grammar import Caption
from tta_plugins.shapes.load import judge
from tta_plugins.shapes.metrics import captions_of

BATCH = 8
STEPS = 20


@frozen
class Row:
    """One line of the table: a method, and what it is run with."""

    name: str
    method: object
    steps: int = STEPS
    reward: str = "clip"


NULL_TTA = NullTTA(inner_min=2, inner_max=6, rate=0.035, optimizer=Adam(lr=0.01))
DNO_SMALL = DNO(iterations=30, optimizer=AdamW(lr=0.02), shuffles=20)

ROWS = (
    Row("fixed", Fixed()),
    Row("fixed, 8 times the steps", Fixed(), steps=8 * STEPS),
    Row("random direction", RandomDirection()),
    Row("best of 2 (DATE's cost)", BestOfN(2)),
    Row("best of 8 (Null-TTA's cost)", BestOfN(8)),
    Row("DATE, 10 % of the steps", DATE(updates=Fraction(0.1))),
    Row("DATE, every step, rho 0.2", DATE(rho=0.2, updates=Every())),
    Row("DATE, every step, rho 0.5", DATE(rho=0.5, updates=Every())),
    Row("DATE, the second half, rho 0.5 (default)", DATE()),
    Row("Null-TTA, no inner steps (selection only)", NullTTA(inner_min=0, inner_max=0)),
    Row("Null-TTA, K = 1", evolve(NULL_TTA, particles=1)),
    Row("Null-TTA, K = 3", NULL_TTA),
    Row("DNO, no regularisation", evolve(DNO_SMALL, regularisation=0.0)),
    Row("DNO, regularised", DNO_SMALL),
)


def captions(pairs: int) -> list[Caption]:
    """Two things each, since one is drawn right already; a quarter are pairs that training never saw."""
    kinds = {"two": pairs - pairs // 4, "unseen": pairs // 4}
    drawn = [caption for kind, count in kinds.items() for caption in captions_of(kind, count, seed=11)]
    random.Random(0).shuffle(drawn)
    return drawn


def drawn(row: Row, asked: list[Caption]) -> dict[str, list[float]]:
    """Scores of one row's pictures, pair by pair, and what an image cost."""
    found: dict[str, list[float]] = {"target": [], "judge": [], "oracle": [], "right": [], "seconds": [], "evaluations": []}
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        prompts = [str(caption) for caption in some]
        run = tta.align(prompts, method=row.method, reward=row.reward, steps=row.steps, seed=list(range(start, start + len(some))))
        with torch.no_grad():
            found["judge"] += judge()(run.result.pixels, prompts).tolist()
        found["target"] += list(run.scores)
        found["oracle"] += oracle.soft(run.result.pixels, some).tolist()
        found["right"] += oracle.strict(run.result.pixels, some).tolist()
        found["seconds"] += [run.cost.seconds / len(some)] * len(some)
        found["evaluations"] += [run.cost.evaluations / len(some)] * len(some)
    return found


def gain(values: list[float], base: list[float]) -> str:
    """Mean paired difference and half its 95 % interval."""
    differences = torch.tensor(values) - torch.tensor(base)
    half = 1.96 * differences.std() / math.sqrt(len(differences))
    return f"{differences.mean():+.3f} ± {half:.3f}"


def line(row: Row, found: dict[str, list[float]], base: dict[str, list[float]]) -> str:
    """One line of the table."""
    mean = {name: sum(values) / len(values) for name, values in found.items()}
    gains = [gain(found[name], base[name]) for name in ("target", "judge", "oracle")]
    cells = [f"{mean['target']:.3f}", gains[0], f"{mean['judge']:.3f}", gains[1], f"{mean['oracle']:.3f}", gains[2], f"{mean['right']:.2f}"]
    return f"| {row.name} | {' | '.join(cells)} | {mean['evaluations']:.0f} | {mean['seconds']:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--rows", nargs="*", default=[], help="parts of names; rows that contain one, besides the baselines they need")
    parser.add_argument("--out", type=Path, help="write every score here as JSON too")
    given = parser.parse_args()
    asked = captions(given.pairs)
    chosen = [row for row in ROWS if not given.rows or any(part in row.name for part in given.rows)]
    bases = {reward: drawn(Row("base", Fixed(), reward=reward), asked) for reward in {row.reward for row in chosen}}
    print(f"{given.pairs} pairs, {STEPS} steps unless said otherwise, batches of {BATCH}, {torch.get_num_threads()} threads\n")
    print("| run | target | gain | judge | gain | oracle, soft | gain | strictly right | evaluations | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    results = {}
    for row in chosen:
        results[row.name] = drawn(row, asked)
        print(line(row, results[row.name], bases[row.reward]), flush=True)
    if given.out:
        given.out.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
