"""`--dry-run`: what a comparison would cost, arm by arm, each line as soon as it is known. Nothing is drawn."""

from collections.abc import Iterator

import attrs

from tta_core.errors import TTAError, UnknownNameError
from tta_plugins.bench.parts import memory_of, method_of
from tta_plugins.bench.plan import Plan
from tta_plugins.bench.spec import Arm
from tta_plugins.cost.forecast import Forecast
from tta_plugins.cost.plan import planned


@attrs.frozen
class Device:
    """The FLOP a second that a device sustains on such networks: a share of its data sheet's dense bfloat16, an assumption."""

    sustained: float


DEVICES = {
    "h100": Device(0.4 * 989e12),
    "a100": Device(0.4 * 312e12),
    "l40s": Device(0.4 * 362e12),
    "4090": Device(0.4 * 165e12),
    "3090": Device(0.4 * 71e12),
    "cpu-core": Device(20e9),
}


def told(plan: Plan, device: str) -> Iterator[str]:
    """Lines to print. Raises `UnknownNameError` for a device of unknown speed."""
    if device not in DEVICES:
        raise UnknownNameError(f"No device is called {device!r}. Known: {', '.join(DEVICES)}.")
    yield f"{plan.spec.title}: {len(plan.prompts)} prompts, {len(plan.spec.seeds)} seed(s), pool of {plan.spec.pool}, hours on {device}"
    yield f"{'arm':<36}{'cells':>8}{'evaluations':>13}{'TFLOP':>11}{'peak GB':>9}{'hours':>8}"
    hours, known = 0.0, {}
    for arm in plan.arms:
        cells = sum(1 for _ in plan.cells(arm))
        key = repr(attrs.evolve(arm, name="", family=""))
        if key not in known:
            known[key] = _forecast(plan, arm)
        found = known[key]
        if isinstance(found, str):
            yield f"{arm.name:<36}{cells:>8}  cannot be foretold: {found}"
            continue
        work = found.total_flops * cells
        hours += work / DEVICES[device].sustained / 3600
        peak = max(found.peaks.phases.values()) / 1e9
        yield (
            f"{arm.name:<36}{cells:>8}{found.evaluations * cells:>13}{work / 1e12:>11.4g}{peak:>9.2f}"
            f"{work / DEVICES[device].sustained / 3600:>8.3g}"
        )
    rate = DEVICES[device].sustained / 1e12
    yield f"{hours:.3g} hours of one {device} in all, at {rate:.3g} TFLOP/s; scoring is not in it. A peak is that of one picture."


def _forecast(plan: Plan, arm: Arm) -> Forecast | str:
    spec = plan.spec
    try:
        return planned(
            backbone=arm.backbone or spec.backbone,
            method=method_of(arm),
            reward=plan.target(arm),
            memory=memory_of(plan, arm),
            scheduler=arm.scheduler or spec.scheduler,
            steps=spec.steps if arm.steps is None else arm.steps,
            guidance=spec.guidance if arm.guidance is None else arm.guidance,
            height=spec.height,
            width=spec.width,
        ).forecast
    except TTAError as error:
        return str(error)
