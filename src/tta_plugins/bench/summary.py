"""`summary.json`: all numbers of the report, computed from `results.csv` and the plan. Its layout has the version `schema`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tta_plugins.bench.curves import POOL, cost_ratio, peak, pool_curve, rival
from tta_plugins.bench.files import save
from tta_plugins.bench.gains import PLAIN, Gain, by_value, gain_of, joint
from tta_plugins.bench.panel import COLUMNS
from tta_plugins.bench.plan import Plan
from tta_plugins.bench.results import Results
from tta_plugins.bench.spec import Arm
from tta_plugins.bench.statistics import LEVEL, Interval, holm
from tta_plugins.bench.verdicts import Evidence, verdict_of

SCHEMA = 1
_VALUES = 12


def summarise(plan: Plan, results: Results, rewards: Sequence[str] = (), seconds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The summary as plain data.

    Args:
        plan, results: the comparison and its table.
        rewards: the rewards that scored the images; empty means the plan's.
        seconds: measured seconds per image, by arm.
    """
    rewards = tuple(rewards) or plan.rewards
    compared = [arm for arm in plan.arms if arm.name != POOL and gain_of(results, arm.name, plan.primary) is not None]
    primary = {arm.name: gain for arm in compared if arm.name != PLAIN and (gain := gain_of(results, arm.name, plan.primary))}
    adjusted = holm({name: gain.gain.p for name, gain in primary.items()})
    return {
        "schema": SCHEMA,
        "title": plan.spec.title,
        "hypothesis": plan.spec.hypothesis,
        "primary": plan.primary,
        "exploratory": [reward for reward in rewards if reward != plan.primary],
        "plan": plan.digest,
        "prompts": {**plan.record, "seeds": len(plan.spec.seeds), "pool": plan.spec.pool},
        "arms": [_arm(plan, results, arm, rewards, adjusted, seconds or {}) for arm in compared],
        "pool": {target: _pool(results, target, rewards) for target in dict.fromkeys(map(plan.target, plan.arms))},
    }


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, in which infinite and unknown numbers are null."""
    save(path, (json.dumps(_strict(summary), indent=1, allow_nan=False) + "\n").encode())


def _arm(
    plan: Plan, results: Results, arm: Arm, rewards: Sequence[str], adjusted: Mapping[str, float], seconds: Mapping[str, float]
) -> dict[str, Any]:
    target, rows = plan.target(arm), results.of(arm.name)
    held_out = [reward for reward in rewards if reward != target]
    gains = {reward: gain for reward in rewards if (gain := gain_of(results, arm.name, reward))}
    after = {reward: gain for reward in rewards if (gain := gain_of(results, arm.name, f"{reward} jpeg"))}
    panel = {name: change for name, column in COLUMNS.items() if (change := _relative(results, arm.name, column, LEVEL)) is not None}
    ratio = cost_ratio(results, arm.name)
    summary = {
        "name": arm.name,
        "family": arm.family or arm.name,
        "method": arm.method,
        "set": dict(arm.set),
        "target": target,
        "cells": {
            "planned": sum(1 for _ in plan.cells(arm)),
            **{status: sum(row.status == status for row in rows) for status in ("done", "failed")},
        },
        "cost": {
            **{unit: _mean(results.values(arm.name, unit)) for unit in ("evaluations", "flops")},
            "seconds": seconds.get(arm.name),
            "in plain draws": ratio,
        },
        "scores": {reward: _gain(gain) for reward, gain in gains.items()},
        "after jpeg": {reward: _gain(gain) for reward, gain in after.items()},
        "panel": {name: attrs.asdict(change) for name, change in panel.items()},
        "joint": _joint(joint(results, arm.name, [target, *held_out])),
        "by column": _columns(plan, results, arm, target),
    }
    if arm.name == PLAIN or target not in gains:
        return summary
    equal = rival(results, arm.name, target, rewards, ratio) if ratio else None
    return {
        **summary,
        "against best of n": equal and {**attrs.asdict(equal), "gains": {name: attrs.asdict(gain) for name, gain in equal.gains.items()}},
        "adjusted p": adjusted[arm.name],
        "verdict": attrs.asdict(verdict_of(_evidence(plan, results, arm, rewards, adjusted))),
    }


def _evidence(plan: Plan, results: Results, arm: Arm, rewards: Sequence[str], adjusted: Mapping[str, float]) -> Evidence:
    target = plan.target(arm)
    held_out = [reward for reward in rewards if reward != target]
    level = 1 - (1 - LEVEL) / max(1, len(held_out) + len(COLUMNS))
    gains = {reward: gain.gain for reward in held_out if (gain := gain_of(results, arm.name, reward, level))}
    panel = {name: change for name, column in COLUMNS.items() if (change := _relative(results, arm.name, column, level)) is not None}
    own, primary, after = (gain_of(results, arm.name, column) for column in (target, plan.primary, f"{target} jpeg"))
    assert own is not None
    assert primary is not None
    return Evidence(own.gain, primary.gain, adjusted[arm.name], gains, panel, None if after is None else after.gain)


def _relative(results: Results, arm: str, column: str, level: float) -> Interval | None:
    """The change of one of the panel's numbers, relative to its mean in plain sampling."""
    gain, plain = gain_of(results, arm, column, level), _mean(results.values(PLAIN, column))
    if gain is None or not plain:
        return None
    fields = {field: getattr(gain.gain, field) / plain for field in ("mean", "low", "high", "detectable")}
    return attrs.evolve(gain.gain, **fields)


def _columns(plan: Plan, results: Results, arm: Arm, target: str) -> dict[str, Any]:
    names = dict.fromkeys(name for prompt in plan.prompts for name in prompt.facts)
    columns = {}
    for name in names:
        groups: dict[str, list[int]] = {}
        for place, prompt in enumerate(plan.prompts):
            groups.setdefault(str(prompt.facts.get(name, "")), []).append(place)
        if 1 < len(groups) <= _VALUES:
            shown = dict.fromkeys((target, plan.primary))
            columns[name] = {
                column: {value: attrs.asdict(gain) for value, gain in by_value(results, arm.name, column, groups).items()}
                for column in shown
            }
    return columns


def _pool(results: Results, target: str, rewards: Sequence[str]) -> dict[str, Any]:
    curve = pool_curve(results, target, rewards)
    points = [
        {"n": point.n, "divergence": point.divergence, "gains": {name: attrs.asdict(gain) for name, gain in point.gains.items()}}
        for point in curve
    ]
    return {"points": points, "peak": {reward: peak(curve, reward) for reward in rewards}}


def _gain(gain: Gain) -> dict[str, Any]:
    return attrs.asdict(gain)


def _joint(rates: tuple[float, float] | None) -> dict[str, float] | None:
    return rates and {"domination": rates[0], "collapse": rates[1]}


def _mean(values: Mapping[tuple[int, int], float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _strict(item) for name, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value
