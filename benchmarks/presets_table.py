"""Prints the table of presets of docs/performance.md: the gain of each arm over plain sampling, and its difference to the arm that it is a
cheaper form of.

    python benchmarks/presets_table.py runs/presets

Gains are means over prompts with half their 95 % interval; differences are paired by prompt. The cost is the FLOPs of an image in units of
one plain sample.
"""

import sys
from pathlib import Path

from results_table import over

from tta_plugins.bench.curves import cost_ratio
from tta_plugins.bench.plan import read_plan
from tta_plugins.bench.results import read_results

SCORES = ("clip", "shapes-judge", "shapes-strict")
BASES = ("Null-TTA, K 1, 10 inner", "Null-TTA", "DATE", "DNO, 10 iterations")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/presets")
    plan, results = read_plan(folder), read_results(folder / "results.csv")
    print("| arm | prompts | cost | of its base | target | judge | strictly right | against its base: target | judge | strictly right |")
    print("|---|" + "---:|" * 9)
    base = ""
    for arm in plan.spec.arms:
        done, cost = len(results.values(arm.name, SCORES[0])), cost_ratio(results, arm.name)
        if not done or cost is None:
            continue
        if arm.name in BASES:
            base = arm.name
        gains = [over(results, arm.name, "fixed", score) for score in SCORES]
        share, apart = "", [""] * len(SCORES)
        if arm.name != base:
            share = f"{cost / (cost_ratio(results, base) or cost):.2f}"
            apart = [over(results, arm.name, base, score) for score in SCORES]
        print(f"| {' | '.join([arm.name, str(done), f'{cost:.1f}', share, *gains, *apart])} |")


if __name__ == "__main__":
    main()
