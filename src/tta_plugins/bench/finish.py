"""From a folder of images to its table, summary and report."""

from pathlib import Path
from typing import Any

from tta_plugins.bench.plan import Plan, read_plan
from tta_plugins.bench.report import write_report
from tta_plugins.bench.results import collect, read_results, write_results
from tta_plugins.bench.scoring import Scores, score
from tta_plugins.bench.status import measured_seconds
from tta_plugins.bench.summary import summarise, write_summary


def finish(plan: Plan, folder: Path, rewards: tuple[str, ...] = ()) -> dict[str, Any]:
    """Score what is not scored, write `results.csv`, `summary.json` and `report.html`; gives the summary. `rewards` join the plan's own."""
    score(plan, folder, tuple(dict.fromkeys((*plan.rewards, *rewards))))
    columns = tuple(dict.fromkeys((*plan.rewards, *Scores(folder).names())))
    results = collect(plan, folder, columns)
    write_results(results, columns, folder / "results.csv")
    summary = summarise(plan, results, columns, measured_seconds(plan, folder))
    write_summary(summary, folder / "summary.json")
    write_report(plan, results, summary, folder, folder / "report.html")
    return summary


def rewrite(folder: Path, page: Path) -> Path:
    """The report, from `plan.json` and `results.csv` as they lie there."""
    plan, results = read_plan(folder), read_results(folder / "results.csv")
    rewards = results.rewards()
    seconds = measured_seconds(plan, folder)
    write_report(plan, results, summarise(plan, results, rewards, seconds), folder, page)
    return page
