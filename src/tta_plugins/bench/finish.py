"""Scores a folder's images, and writes its table, summary and report."""

from pathlib import Path
from typing import Any

from tta_plugins.bench.plan import Plan, read_plan
from tta_plugins.bench.report import write_report
from tta_plugins.bench.results import collect, read_results, write_results
from tta_plugins.bench.scoring import Scores, score
from tta_plugins.bench.status import measured_seconds
from tta_plugins.bench.summary import summarise, write_summary


def finish(plan: Plan, folder: Path, rewards: tuple[str, ...] = ()) -> dict[str, Any]:
    """Score images that have no score yet, and write `results.csv`, `summary.json` and `report.html`.

    Args:
        plan, folder: the comparison.
        rewards: names of rewards to score with, besides the plan's own.

    Returns:
        The summary.
    """
    score(plan, folder, tuple(dict.fromkeys((*plan.rewards, *rewards))))
    columns = _columns(plan, folder)
    results = collect(plan, folder, columns)
    write_results(results, columns, folder / "results.csv")
    summary = summarise(plan, results, columns, measured_seconds(plan, folder))
    write_summary(summary, folder / "summary.json")
    write_report(plan, results, summary, folder, folder / "report.html")
    return summary


def rewrite(folder: Path, page: Path) -> Path:
    """Write the report from the folder's `plan.json` and `results.csv`, without scoring again."""
    plan, results = read_plan(folder), read_results(folder / "results.csv")
    seconds = measured_seconds(plan, folder)
    write_report(plan, results, summarise(plan, results, _columns(plan, folder), seconds), folder, page)
    return page


def _columns(plan: Plan, folder: Path) -> tuple[str, ...]:
    """The plan's rewards, and those that the images were scored with besides."""
    return tuple(dict.fromkeys((*plan.rewards, *Scores(folder).names())))
