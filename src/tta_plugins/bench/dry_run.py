"""`--dry-run`: the predicted cost of a comparison, each line as soon as it is known: evaluations, then FLOPs, memory and hours."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import attrs
import torch

from tta_core.errors import TTAError, UnknownNameError
from tta_core.plugins import resolve
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.reward import card_of
from tta_core.running.prepare import Prepared, prepare
from tta_plugins.bench.parts import memory_of, method_of, refuse_unknown
from tta_plugins.bench.plan import Plan
from tta_plugins.bench.run import chosen_arms
from tta_plugins.bench.spec import Arm
from tta_plugins.cost.evaluation_count import evaluation_count
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.cost.forecast import Forecast, forecast
from tta_plugins.cost.measured_calls import CallCost
from tta_plugins.planning.pipeline_configuration import configuration_names, fake_backbone, pipeline_configuration
from tta_plugins.planning.reward_networks import has_reward_network, reward_network

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


def predicted_lines(plan: Plan, device: str, only: Collection[str] = ()) -> Iterator[str]:
    """Lines to print, for the arms of these names and "fixed"; without names, for all.

    Raises:
        UnknownNameError: for a device of unknown speed, and for other unknown names.
    """
    if device not in DEVICES:
        raise UnknownNameError(f"No device is called {device!r}. Known: {', '.join(DEVICES)}.")
    refuse_unknown(plan)
    arms = chosen_arms(plan, only)
    predictions = _Predictions(plan)
    cells = {arm.name: sum(1 for _ in plan.cells(arm)) for arm in arms}
    yield f"{plan.spec.title}: {len(plan.prompts)} prompts, {len(plan.spec.seeds)} seed(s), a pool of {plan.spec.pool}"
    yield f"{'arm':<36}{'cells':>8}{'evaluations':>14}{'in all':>14}"
    for arm, rows in _once(arms, predictions.rows):
        if isinstance(rows, str):
            yield f"{arm.name:<36}{cells[arm.name]:>8}{rows}"
            continue
        evaluations = sum(rows.get(name, 0) for name in _DENOISER)
        yield f"{arm.name:<36}{cells[arm.name]:>8}{evaluations:>14}{evaluations * cells[arm.name]:>14}"
    yield f"{'arm':<36}{'TFLOP in all':>14}{'peak GB of one':>16}{'hours':>10}"
    hours, unknown = 0.0, 0
    for arm, cost in _once(arms, predictions.forecast):
        if isinstance(cost, str):
            yield f"{arm.name:<36}  {cost}"
            unknown += 1
            continue
        work = cost.total_flops * cells[arm.name]
        needed = work / (SUSTAINED * DEVICES[device]) / 3600
        hours += needed
        yield f"{arm.name:<36}{work / 1e12:>14.4g}{cost.peaks.total / 1e9:>16.2f}{needed:>10.3g}"
    if unknown:
        yield f"The cost of {unknown} of {len(arms)} arms cannot be predicted, and is not in the sum:"
    yield f"{hours:.3g} hours of one {device} in all, at {SUSTAINED:.0%} of {DEVICES[device] / 1e12:.3g} TFLOP/s; scoring is not in it."


def _once(arms: Sequence[Arm], find: Callable[[Arm], Found]) -> Iterator[tuple[Arm, Found | str]]:
    """What is found for each arm; arms that differ in their names alone are looked at once. For a refusal it is the message."""
    known: dict[str, Found | str] = {}
    for arm in arms:
        key = _key(arm)
        if key not in known:
            try:
                known[key] = find(arm)
            except TTAError as error:
                known[key] = f"  cannot be predicted: {error}"
        yield arm, known[key]


def _key(arm: Arm) -> str:
    return repr(attrs.evolve(arm, name="", family=""))


@attrs.define
class _Predictions:
    """Rows and forecasts of arms for one image. Arms on the same networks share them, and what their calls cost."""

    plan: Plan
    _mode: FakeMode = attrs.field(factory=FakeMode)
    _backbones: dict[str, Backbone] = attrs.field(factory=dict)
    _rewards: dict[tuple[str, str], object] = attrs.field(factory=dict)
    _rows: dict[object, Mapping[str, int]] = attrs.field(factory=dict)
    _costs: dict[object, dict[object, CallCost]] = attrs.field(factory=dict)

    def rows(self, arm: Arm) -> Mapping[str, int]:
        """Rows through each network, counted on networks that cost nothing."""
        with self._prepared(arm) as prepared:
            return self._counted(arm, prepared)

    def forecast(self, arm: Arm) -> Forecast:
        """FLOPs and memory too."""
        with self._prepared(arm) as prepared:
            networks = self._source(arm), self.plan.target(arm), prepared.memory
            return forecast(prepared.setup, self._counted(arm, prepared), self._costs.setdefault(networks, {}))

    def _counted(self, arm: Arm, prepared: Prepared) -> Mapping[str, int]:
        """A method asks two rewards equally often, if both or neither have a gradient."""
        key = _key(attrs.evolve(arm, target="")), card_of(prepared.setup.reward).differentiable, prepared.memory
        if key not in self._rows:
            self._rows[key] = evaluation_count(prepared.setup)
        return self._rows[key]

    def _prepared(self, arm: Arm) -> AbstractContextManager[Prepared]:
        spec = self.plan.spec
        return prepare(
            ["a prompt"],
            backbone=self._backbone(self._source(arm)),
            method=method_of(arm),
            reward=self._reward(self._source(arm), self.plan.target(arm)),
            memory=memory_of(self.plan, arm),
            scheduler=arm.scheduler or spec.scheduler,
            steps=spec.steps if arm.steps is None else arm.steps,
            guidance=spec.guidance if arm.guidance is None else arm.guidance,
            eta=spec.eta if arm.eta is None else arm.eta,
            height=spec.height,
            width=spec.width,
        )

    def _source(self, arm: Arm) -> str:
        name = arm.backbone or self.plan.spec.backbone
        return KNOWN_IDS.get(name, name)

    def _backbone(self, source: str) -> Backbone:
        if source not in self._backbones:
            fake = _is_configuration(source)
            self._backbones[source] = (
                fake_backbone(pipeline_configuration(source), self._mode, _DTYPE) if fake else resolve.backbone(source)
            )
        return self._backbones[source]

    def _reward(self, source: str, target: str) -> object:
        if (source, target) not in self._rewards:
            backbone, fake = self._backbone(source), _is_configuration(source) and has_reward_network(target)
            self._rewards[source, target] = reward_network(target, self._mode, _DTYPE) if fake else resolve.reward(target, backbone)
        return self._rewards[source, target]


def _is_configuration(source: str) -> bool:
    return source in configuration_names() or Path(source).is_dir()
