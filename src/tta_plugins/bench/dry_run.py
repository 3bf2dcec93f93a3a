"""`--dry-run`: the predicted cost of a comparison, each line as soon as it is known: evaluations, then FLOPs, memory and hours."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import attrs
import torch

from tta_core.errors import TTAError, UnknownNameError
from tta_core.plugins import resolve
from tta_core.protocols.backbone import Backbone
from tta_core.running.prepare import prepare
from tta_plugins.bench.parts import memory_of, method_of
from tta_plugins.bench.plan import Plan
from tta_plugins.bench.spec import Arm
from tta_plugins.cost.evaluation_count import evaluation_count
from tta_plugins.cost.forecast import Forecast
from tta_plugins.cost.pipeline_configuration import configuration_names, fake_backbone, pipeline_configuration
from tta_plugins.cost.plan import planned
from tta_plugins.cost.reward_networks import has_reward_network, reward_network

SUSTAINED = 0.4  # of a data sheet's dense bfloat16 rate: an assumption, until the first cells are measured
DEVICES = {"h100": 989e12, "a100": 312e12, "l40s": 362e12, "4090": 165e12, "3090": 71e12, "cpu-core": 50e9}
KNOWN_IDS = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/stable-diffusion-3-medium-diffusers": "sd3",
    "black-forest-labs/FLUX.1-dev": "flux",
    "PixArt-alpha/PixArt-XL-2-1024-MS": "pixart",
}
Found = TypeVar("Found")
_DTYPE = torch.bfloat16
_DENOISER = ("text", "null", "text.backward", "null.backward")


def told(plan: Plan, device: str) -> Iterator[str]:
    """Lines to print. Raises `UnknownNameError` for a device of unknown speed."""
    if device not in DEVICES:
        raise UnknownNameError(f"No device is called {device!r}. Known: {', '.join(DEVICES)}.")
    cells = {arm.name: sum(1 for _ in plan.cells(arm)) for arm in plan.arms}
    yield f"{plan.spec.title}: {len(plan.prompts)} prompts, {len(plan.spec.seeds)} seed(s), a pool of {plan.spec.pool}"
    yield f"{'arm':<36}{'cells':>8}{'evaluations':>14}{'in all':>14}"
    for arm, found in _once(plan, _evaluations):
        each = found if isinstance(found, str) else f"{found:>14}{found * cells[arm.name]:>14}"
        yield f"{arm.name:<36}{cells[arm.name]:>8}{each}"
    yield f"{'arm':<36}{'TFLOP in all':>14}{'peak GB of one':>16}{'hours':>10}"
    hours = 0.0
    for arm, forecast in _once(plan, _forecast):
        if isinstance(forecast, str):
            yield f"{arm.name:<36}  {forecast}"
            continue
        work = forecast.total_flops * cells[arm.name]
        needed = work / (SUSTAINED * DEVICES[device]) / 3600
        hours += needed
        yield f"{arm.name:<36}{work / 1e12:>14.4g}{forecast.peaks.total / 1e9:>16.2f}{needed:>10.3g}"
    yield f"{hours:.3g} hours of one {device} in all, at {SUSTAINED:.0%} of {DEVICES[device] / 1e12:.3g} TFLOP/s; scoring is not in it."


def _once(plan: Plan, find: Callable[[Plan, Arm], Found]) -> Iterator[tuple[Arm, Found | str]]:
    """What is found for each arm; arms that differ in their names alone are looked at once. A refusal is told instead."""
    known: dict[str, Found | str] = {}
    for arm in plan.arms:
        key = repr(attrs.evolve(arm, name="", family=""))
        if key not in known:
            try:
                known[key] = find(plan, arm)
            except TTAError as error:
                known[key] = f"  cannot be predicted: {error}"
        yield arm, known[key]


def _source(plan: Plan, arm: Arm) -> str:
    name = arm.backbone or plan.spec.backbone
    return KNOWN_IDS.get(name, name)


def _is_configuration(source: str) -> bool:
    return source in configuration_names() or Path(source).is_dir()


@cache
def _backbone(source: str) -> Backbone:
    """One for all arms: building it takes longer than counting on it."""
    return fake_backbone(pipeline_configuration(source), _DTYPE) if _is_configuration(source) else resolve.backbone(source)


def _evaluations(plan: Plan, arm: Arm) -> int:
    """Rows through the denoiser for one image, counted on networks that cost nothing."""
    source, spec, target = _source(plan, arm), plan.spec, plan.target(arm)
    judge: object = target
    drawing = _backbone(source)
    if _is_configuration(source) and has_reward_network(target):
        judge = reward_network(target, drawing, _DTYPE)
    with prepare(
        ["a prompt"],
        backbone=drawing,
        method=method_of(arm),
        reward=judge,
        memory=memory_of(plan, arm),
        scheduler=arm.scheduler or spec.scheduler,
        steps=spec.steps if arm.steps is None else arm.steps,
        guidance=spec.guidance if arm.guidance is None else arm.guidance,
        eta=spec.eta if arm.eta is None else arm.eta,
        height=spec.height,
        width=spec.width,
    ) as prepared:
        rows = evaluation_count(prepared.setup)
    return sum(rows.get(name, 0) for name in _DENOISER)


def _forecast(plan: Plan, arm: Arm) -> Forecast:
    spec = plan.spec
    return planned(
        backbone=_source(plan, arm),
        method=method_of(arm),
        reward=plan.target(arm),
        memory=memory_of(plan, arm),
        scheduler=arm.scheduler or spec.scheduler,
        steps=spec.steps if arm.steps is None else arm.steps,
        guidance=spec.guidance if arm.guidance is None else arm.guidance,
        height=spec.height,
        width=spec.width,
        dtype=_DTYPE,
    ).forecast
