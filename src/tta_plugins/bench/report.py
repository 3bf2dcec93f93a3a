"""The report: one HTML file that loads nothing, made from the summary, the table and the folder's images and records."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tta_core.plugins.discovery import plugins
from tta_plugins.bench.charts import against_cost, by_step, forest
from tta_plugins.bench.curves import POOL
from tta_plugins.bench.files import object_of, save
from tta_plugins.bench.gains import PLAIN
from tta_plugins.bench.gallery import held_out_of, pairs, strips
from tta_plugins.bench.plan import Plan
from tta_plugins.bench.results import Results
from tta_plugins.bench.store import RESTORE, Record, Store
from tta_plugins.cli.citations import citation_of
from tta_plugins.pages.render import render

_TRACED = 32


def write_report(plan: Plan, results: Results, summary: Mapping[str, Any], folder: Path, page: Path) -> None:
    """Write the page. Images, traces and identities are shown if the folder has them."""
    store = Store(folder)
    arms = [arm for arm in plan.arms if any(known["name"] == arm.name for known in summary["arms"])]
    records = {arm.name: list(store.cells(arm).values()) for arm in arms}
    values = {
        "title": plan.spec.title,
        "summary": summary,
        "plan": plan,
        "forest": forest(summary, plan.primary),
        "curves": [(target, [against_cost(summary, target, score) for score in _scores(plan, target)]) for target in summary["pool"]],
        "galleries": [
            (arm.name, held_out_of(plan, arm), plan.target(arm), shown)
            for arm in arms
            if arm.name != PLAIN and (shown := pairs(plan, results, store, arm))
        ],
        "strips": [(arm.name, shown) for arm in arms if (shown := strips(plan, store, arm))],
        "steps": _steps(records),
        "noises": _noises(records),
        "failures": [(arm, record) for arm, kept in records.items() for record in kept if record["status"] == "failed"],
        "ledger": [(arm, _ledger(kept)) for arm, kept in records.items() if any(record["status"] == "done" for record in kept)],
        "identities": {arm.name: text for arm in arms if (text := _identity(store.identity(arm)))},
        "citations": _citations(plan),
    }
    save(page, render("bench.html", values).encode("utf-8", "backslashreplace"))


def _scores(plan: Plan, target: str) -> list[str]:
    return list(dict.fromkeys((target, plan.primary, *plan.spec.held_out)))


def _steps(records: Mapping[str, list[Record]]) -> list[str]:
    """Figures of the reward by step and of each penalty by step, over the first cells of each arm."""
    traces = {
        arm: [record["trace"] for record in kept if record["status"] == "done"][:_TRACED] for arm, kept in records.items() if arm != POOL
    }
    names = dict.fromkeys(name for kept in traces.values() for trace in kept for name in trace)
    drawn = []
    for name in names:
        series = {arm: [trace[name] for trace in kept] for arm, kept in traces.items() if kept and name in kept[0]}
        series = {arm: cells for arm, cells in series.items() if any(value is not None for cell in cells for value in cell)}
        if series:
            drawn.append(by_step(series, name))
    return drawn


def _noises(records: Mapping[str, list[Record]]) -> dict[str, dict[str, float]]:
    """The means of the noise statistics over each arm's cells."""
    means = {}
    for arm, kept in records.items():
        steered = [record["noise"] for record in kept if record["status"] == "done" and record["noise"]]
        if steered:
            means[arm] = {name: sum(one[name] for one in steered) / len(steered) for name in steered[0]}
    return means


def _ledger(kept: list[Record]) -> dict[str, Any]:
    done = [record for record in kept if record["status"] == "done"]
    rows = dict.fromkeys(name for record in done for name in record["rows"])
    return {
        "rows": {name: sum(record["rows"].get(name, 0) for record in done) / len(done) for name in rows},
        "seconds": sum(record["seconds"] for record in done) / len(done),
        "peak": max((record["peak_bytes"] for record in done if record["peak_bytes"]), default=None),
        "retries": sum(record["retries"] for record in done),
    }


def _identity(path: Path) -> str:
    return json.dumps(object_of(path, RESTORE), indent=1) if path.is_file() else ""


def _citations(plan: Plan) -> list[str]:
    registry = plugins().registry
    citations = [citation_of(registry.find("methods", arm.method).load()) for arm in plan.arms]
    return [citation for citation in dict.fromkeys(citations) if citation]
