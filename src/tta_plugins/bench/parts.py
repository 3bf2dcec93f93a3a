"""The parts that arms name, built once per process: backbones, rewards, methods with their settings."""

from collections.abc import Mapping

import attrs

from tta_core.plugins import resolve
from tta_core.plugins.discovery import plugins
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Method
from tta_core.protocols.reward import Reward
from tta_plugins.bench.plan import Plan
from tta_plugins.bench.spec import Arm, Setting
from tta_plugins.cli.structure import construct


@attrs.define
class Parts:
    """Loads the backbones and rewards that a plan names, each once."""

    plan: Plan
    _backbones: dict[str, Backbone] = attrs.field(factory=dict)
    _rewards: dict[str, Reward] = attrs.field(factory=dict)

    def backbone(self, arm: Arm) -> Backbone:
        """The backbone of an arm."""
        name = arm.backbone or self.plan.spec.backbone
        if name not in self._backbones:
            self._backbones[name] = resolve.backbone(name)
        return self._backbones[name]

    def reward(self, name: str) -> Reward:
        """A reward by its name, which may be one that the comparison's backbone brings."""
        if name not in self._rewards:
            self._rewards[name] = resolve.reward(name, self.backbone(self.plan.arms[0]))
        return self._rewards[name]


def method_of(arm: Arm) -> Method:
    """The arm's method with its settings. Raises `TTAError` for unknown names and settings."""
    return resolve.method(construct(plugins().registry.find("methods", arm.method), _texts(arm.set)))


def refuse_unknown(plan: Plan) -> None:
    """Raises `TTAError` for a method, setting or reward that a plan names and that does not exist. Rewards are needed only after the last
    sample, and the plan cannot be changed then."""
    for arm in plan.arms:
        method_of(arm)
    for name in plan.rewards:
        plugins().registry.find("rewards", name)


def _texts(settings: Mapping[str, Setting]) -> dict[str, str]:
    """Settings as a user would type them on the command line."""
    return {name: value if isinstance(value, str) else repr(value) for name, value in settings.items()}


def arguments(plan: Plan, arm: Arm, parts: Parts) -> dict[str, object]:
    """An arm's arguments to `prepare`, besides prompts, seeds and memory."""
    spec = plan.spec
    return {
        "backbone": parts.backbone(arm),
        "method": method_of(arm),
        "reward": parts.reward(plan.target(arm)),
        "scheduler": arm.scheduler or spec.scheduler,
        "steps": spec.steps if arm.steps is None else arm.steps,
        "guidance": spec.guidance if arm.guidance is None else arm.guidance,
        "eta": spec.eta if arm.eta is None else arm.eta,
        "height": spec.height,
        "width": spec.width,
    }


def memory_of(plan: Plan, arm: Arm) -> tuple[str, ...]:
    """The memory policies of an arm."""
    return plan.spec.memory if arm.memory is None else arm.memory
