"""Prints the tables of docs/results.md from the plan and the results in docs/results.

    python benchmarks/results_table.py [docs/results]

`tta bench report docs/results --out report.html` writes the whole report.
"""

import sys
from pathlib import Path

from tta_plugins.bench.plan import read_plan
from tta_plugins.bench.results import Results, read_results
from tta_plugins.bench.statistics import interval, paired, prompt_means
from tta_plugins.bench.summary import summarise

SHORT = {"clip": "target", "shapes-judge": "judge", "shapes-oracle": "oracle", "shapes-strict": "strictly right"}


def shown(gain: dict) -> str:
    return f"{gain['mean']:+.3f} ± {(gain['high'] - gain['low']) / 2:.3f}"


def over(results: Results, arm: str, base: str, score: str) -> str:
    means = prompt_means(paired(results.values(arm, score), results.values(base, score)))
    found = interval(list(means.values()))
    return shown({"mean": found.mean, "low": found.low, "high": found.high})


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results")
    plan, results = read_plan(folder), read_results(folder / "results.csv")
    summary = summarise(plan, results, plan.rewards)
    scores = [score for score in SHORT if score in plan.rewards]
    print(f"| arm | prompts | verdict | cost | {' | '.join(SHORT[score] for score in scores)} | strictly right | beyond best of n |")
    print("|---|---:|---|---:|" + "---:|" * (len(scores) + 2))
    for arm in summary["arms"]:
        rival = arm.get("against best of n")
        beyond = shown(rival["gains"][summary["primary"]]) + (f" (n {rival['n']:.0f})" if rival["capped"] else "") if rival else "-"
        word = arm["verdict"]["word"] if "verdict" in arm else "-"
        cells = [
            arm["name"],
            str(arm["cells"]["done"]),
            f"**{word}**" if word != "-" else "-",
            f"{arm['cost']['in plain draws']:.1f}",
            *(shown(arm["scores"][score]["gain"]) for score in scores),
            f"{arm['scores'][summary['primary']]['mean']:.2f}",
            beyond,
        ]
        print(f"| {' | '.join(cells)} |")
    print("\n| over plain sampling with eta 0 | " + " | ".join(SHORT[score] for score in scores) + " |")
    print("|---|" + "---:|" * len(scores))
    for name in (arm.name for arm in plan.spec.arms if arm.eta == 0 and arm.method != "fixed"):
        print(f"| {name} | {' | '.join(over(results, name, 'plain, eta 0', score) for score in scores)} |")
    for target, pool in summary["pool"].items():
        print(f"\n| best of n by {SHORT.get(target, target)} | {' | '.join(SHORT[score] for score in scores)} |")
        print("|---:|" + "---:|" * len(scores))
        for point in pool["points"]:
            if point["n"] in (1, 2, 3, 4, 6, 8, 12, 16, 20, 32):
                print(f"| {point['n']} | {' | '.join(shown(point['gains'][score]) for score in scores)} |")


if __name__ == "__main__":
    main()
