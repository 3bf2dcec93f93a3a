"""The page of a single run: images before and after, reward and penalties by snapshot, the cost and the manifest."""

import json

import torch

from tta_core.running.alignment import Alignment
from tta_core.running.outcome import TraceRow
from tta_core.values.images import to_pil
from tta_plugins.pages.data_uri import LARGEST, data_uri
from tta_plugins.pages.figures import COLOURS, figure
from tta_plugins.pages.render import render


def run_page(alignment: Alignment) -> str:
    """The page as HTML."""
    plain, aligned, after = alignment.baseline, alignment.scores, alignment.images
    before = [] if plain is None else plain.images
    prompts = [
        {
            "text": text,
            "before": None if plain is None else data_uri(before[row]),
            "after": data_uri(after[row]),
            "scale": "small" if max(after[row].size) < LARGEST // 2 else "",
            "plain": None if plain is None else plain.scores[row],
            "aligned": aligned[row],
            "gain": None if plain is None else aligned[row] - plain.scores[row],
        }
        for row, text in enumerate(alignment.prompts)
    ]
    values = {
        "title": "An aligned run",
        "method": alignment.manifest["method"],
        "reward": aligned.reward,
        "unit": aligned.unit,
        "prompts": prompts,
        "stopped": alignment.stopped,
        "trace": _figures(alignment.trace),
        "strips": [
            {"text": text, "image": data_uri(to_pil(torch.cat(list(strip), dim=2)), largest=2000)}
            for text, strip in zip(alignment.prompts, alignment.look_aheads, strict=False)
        ],
        "cost": alignment.cost.record(),
        "manifest": json.dumps(alignment.manifest, indent=1, default=str),
    }
    return render("run.html", values)


def _figures(trace: tuple[TraceRow, ...]) -> list[str]:
    """Figures of the scores and of the penalties, if there are any. A line is the mean over the samples."""
    scored = [(place, _mean(row.scores)) for place, row in enumerate(trace) if row.scores]
    names = sorted({name for row in trace for name in row.penalties})
    drawn = []
    if scored:
        with figure("Reward by snapshot", 2.8) as (axes, svg):
            axes.plot(*zip(*scored, strict=True), color=COLOURS[0])
            axes.set_xlabel("snapshot")
            axes.set_ylabel("reward of the look-ahead")
        drawn.append(svg.svg)
    if names:
        with figure("Penalties by snapshot", 2.8) as (axes, svg):
            for colour, name in zip(COLOURS, names, strict=False):
                points = [(place, _mean(row.penalties[name])) for place, row in enumerate(trace) if name in row.penalties]
                axes.plot(*zip(*points, strict=True), color=colour, label=name)
            axes.set_xlabel("snapshot")
            axes.set_ylabel("penalty")
            axes.legend()
        drawn.append(svg.svg)
    return drawn


def _mean(values: tuple[float, ...] | None) -> float:
    return sum(values) / len(values) if values else 0.0
