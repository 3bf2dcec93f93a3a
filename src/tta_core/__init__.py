"""The kernel of test-time alignment: the types, protocols and loops that methods, rewards, backbones and memory policies use.

Names are imported when first used, so that `import tta_core`, and registering a plugin, do not import torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tta_core.plugins.hookspecs import hookimpl as hookimpl
    from tta_core.plugins.hookspecs import hookspec as hookspec
    from tta_core.plugins.resolve import remote_reward as remote_reward
    from tta_core.protocols.backbone import Backbone as Backbone
    from tta_core.protocols.backbone import Defaults as Defaults
    from tta_core.protocols.backbone import classifier_free as classifier_free
    from tta_core.protocols.memory import MemoryPolicy as MemoryPolicy
    from tta_core.protocols.memory import Setup as Setup
    from tta_core.protocols.method import Method as Method
    from tta_core.protocols.method import Needs as Needs
    from tta_core.protocols.method import Snapshot as Snapshot
    from tta_core.protocols.reward import Card as Card
    from tta_core.protocols.reward import Reward as Reward
    from tta_core.protocols.scheduler import GaussianScheduler as GaussianScheduler
    from tta_core.protocols.scheduler import Scheduler as Scheduler
    from tta_core.protocols.variables import ControllableVariable as ControllableVariable
    from tta_core.protocols.variables import Noise as Noise
    from tta_core.protocols.variables import NullEmbedding as NullEmbedding
    from tta_core.protocols.variables import Product as Product
    from tta_core.protocols.variables import TextEmbedding as TextEmbedding
    from tta_core.running.align import align as align
    from tta_core.running.alignment import Alignment as Alignment
    from tta_core.running.prepare import prepare as prepare
    from tta_core.running.run import run as run
    from tta_core.running.steering_hook import Steerable as Steerable
    from tta_core.running.steering_hook import steering_hook as steering_hook
    from tta_core.solving import steering as steering
    from tta_core.solving.look import Look as Look
    from tta_core.solving.position import Position as Position
    from tta_core.solving.problem import Problem as Problem
    from tta_core.values.budget import Budget as Budget
    from tta_core.values.controls import Controls as Controls
    from tta_core.values.controls import Embedding as Embedding
    from tta_core.values.ledger import Ledger as Ledger
    from tta_core.values.noise import GivenNoise as GivenNoise
    from tta_core.values.noise import KeyedNoise as KeyedNoise
    from tta_core.values.prompts import Prompt as Prompt
    from tta_core.values.trajectory import Prediction as Prediction
    from tta_core.values.trajectory import State as State
    from tta_core.values.trajectory import Step as Step
    from tta_core.values.transition import GaussianTransition as GaussianTransition
    from tta_core.values.typing import Images as Images
    from tta_core.values.typing import Latents as Latents
    from tta_core.values.typing import Noises as Noises
    from tta_core.values.typing import Scores as Scores
    from tta_core.values.typing import evolve as evolve
    from tta_core.values.typing import frozen as frozen

_HOMES = {
    "running.align": "align",
    "running.run": "run",
    "running.alignment": "Alignment",
    "running.prepare": "prepare",
    "running.steering_hook": "Steerable steering_hook",
    "plugins.hookspecs": "hookimpl hookspec",
    "plugins.resolve": "remote_reward",
    "solving.look": "Look",
    "solving.problem": "Problem",
    "solving.position": "Position",
    "protocols.backbone": "Backbone Defaults classifier_free",
    "protocols.memory": "MemoryPolicy Setup",
    "protocols.method": "Method Needs Snapshot",
    "protocols.reward": "Card Reward",
    "protocols.scheduler": "GaussianScheduler Scheduler",
    "protocols.variables": "ControllableVariable Noise NullEmbedding Product TextEmbedding",
    "values.budget": "Budget",
    "values.controls": "Controls Embedding",
    "values.ledger": "Ledger",
    "values.noise": "GivenNoise KeyedNoise",
    "values.prompts": "Prompt",
    "values.trajectory": "Prediction State Step",
    "values.transition": "GaussianTransition",
    "values.typing": "Images Latents Noises Scores evolve frozen",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted([*_HOME, "steering"])


def __getattr__(name: str) -> object:
    if name == "steering":
        return importlib.import_module("tta_core.solving.steering")
    if name not in _HOME:
        raise AttributeError(f"module 'tta_core' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tta_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
