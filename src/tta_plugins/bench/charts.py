"""The report's figures: gains with their intervals, gain against cost, reward by step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tta_plugins.bench.verdicts import GAIN, HACKED, HARM
from tta_plugins.pages.figures import COLOURS, INK, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Summary = Mapping[str, Any]
VERDICTS = {GAIN: COLOURS[2], HARM: COLOURS[1], HACKED: COLOURS[3]}


def forest(summary: Summary, score: str) -> str:
    """Every arm's gain in one score with its interval, coloured by its verdict; grey means no evidence."""
    arms = [arm for arm in summary["arms"] if "verdict" in arm and score in arm["scores"]]
    with figure(f"Gains in {score}", 1.0 + 0.32 * len(arms)) as (axes, drawn):
        for place, arm in enumerate(reversed(arms)):
            gain = arm["scores"][score]["gain"]
            low, high = (gain["mean"] if gain[end] is None else gain[end] for end in ("low", "high"))
            colour = VERDICTS.get(arm["verdict"]["word"], COLOURS[7])
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot(gain["mean"], place, "o", color=colour)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(arms)), [arm["name"] for arm in reversed(arms)])
        axes.set_ylim(-0.7, len(arms) - 0.3)
        axes.set_xlabel(f"gain in {score} over plain sampling, 95 %")
    return drawn.svg


def against_cost(summary: Summary, target: str, score: str) -> str:
    """Gain against cost in plain samples: best of n is a line with a band, each arm of this target is a point, families are joined."""
    points = summary["pool"][target]["points"]
    families: dict[str, list[Mapping[str, Any]]] = {}
    for arm in summary["arms"]:
        if "verdict" in arm and arm["target"] == target and score in arm["scores"] and arm["cost"]["in plain draws"]:
            families.setdefault(arm["family"], []).append(arm)
    with figure(f"{score} against cost, by {target}", 4.2) as (axes, drawn):
        if points:
            cost, gains = [point["n"] for point in points], [point["gains"][score] for point in points]
            axes.plot(cost, [gain["mean"] for gain in gains], color=INK, label="best of n")
            bounded = [(n, gain["low"], gain["high"]) for n, gain in zip(cost, gains, strict=True) if gain["low"] is not None]
            if bounded:
                counts, lows, highs = zip(*bounded, strict=True)
                axes.fill_between(counts, lows, highs, color=INK, alpha=0.12, linewidth=0)
        for place, (family, arms) in enumerate(families.items()):
            arms = sorted(arms, key=lambda arm: arm["cost"]["in plain draws"])
            cost = [arm["cost"]["in plain draws"] for arm in arms]
            gains = [arm["scores"][score]["gain"] for arm in arms]
            means = [gain["mean"] for gain in gains]
            ends = [[0 if gain[end] is None else abs(gain[end] - gain["mean"]) for gain in gains] for end in ("low", "high")]
            mark = "osD^vPX*"[place // len(COLOURS) % 8]
            axes.errorbar(cost, means, yerr=ends, fmt=f"{mark}-", color=COLOURS[place % len(COLOURS)], capsize=2, label=family, linewidth=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.set_xlabel("cost of an image, in plain samples")
        axes.set_ylabel(f"gain in {score}")
        _legend(axes)
    return drawn.svg


def by_step(traces: Mapping[str, Sequence[Sequence[float | None]]], name: str) -> str:
    """The mean of a series over each arm's cells, against the fraction of the run: methods yield different numbers of snapshots."""
    with figure(f"{name} by step", 3.4) as (axes, drawn):
        for place, (arm, cells) in enumerate(traces.items()):
            length = min(map(len, cells))
            columns = [[cell[step] for cell in cells if cell[step] is not None] for step in range(length)]
            points = [(step / max(1, length - 1), sum(column) / len(column)) for step, column in enumerate(columns) if column]  # type: ignore[arg-type]
            if points:
                style = ("-", "--", ":")[place // len(COLOURS) % 3]
                axes.plot(*zip(*points, strict=True), style, color=COLOURS[place % len(COLOURS)], label=arm)
        axes.set_xlabel("fraction of the run")
        axes.set_ylabel(name)
        _legend(axes)
    return drawn.svg


def _legend(axes: "Axes") -> None:
    """A legend, if a curve was drawn."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
