"""The kernel of test-time alignment: the words in which methods, rewards, backbones and memory policies are written.

Names are imported when first used, so that `import tta_core` (and with it registering a plugin) does not import torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tta_core.alignment import Alignment as Alignment
    from tta_core.backbone import Backbone as Backbone
    from tta_core.backbone import Defaults as Defaults
    from tta_core.backbone import classifier_free as classifier_free
    from tta_core.budget import Budget as Budget
    from tta_core.controls import Controls as Controls
    from tta_core.controls import Embedding as Embedding
    from tta_core.front import align as align
    from tta_core.front import run as run
    from tta_core.hookspecs import hookimpl as hookimpl
    from tta_core.hookspecs import hookspec as hookspec
    from tta_core.ledger import Ledger as Ledger
    from tta_core.memory import MemoryPolicy as MemoryPolicy
    from tta_core.memory import Setup as Setup
    from tta_core.method import Method as Method
    from tta_core.method import Needs as Needs
    from tta_core.method import Snapshot as Snapshot
    from tta_core.noise import GivenNoise as GivenNoise
    from tta_core.noise import KeyedNoise as KeyedNoise
    from tta_core.preparation import prepare as prepare
    from tta_core.problem import Look as Look
    from tta_core.problem import Problem as Problem
    from tta_core.reward import Card as Card
    from tta_core.reward import Reward as Reward
    from tta_core.scheduler import GaussianScheduler as GaussianScheduler
    from tta_core.scheduler import Prediction as Prediction
    from tta_core.scheduler import Scheduler as Scheduler
    from tta_core.scheduler import State as State
    from tta_core.scheduler import Step as Step
    from tta_core.steerable import Steerable as Steerable
    from tta_core.steerable import steering_hook as steering_hook
    from tta_core.transition import GaussianTransition as GaussianTransition
    from tta_core.variables import ControllableVariable as ControllableVariable
    from tta_core.variables import Noise as Noise
    from tta_core.variables import NullEmbedding as NullEmbedding
    from tta_core.variables import Product as Product
    from tta_core.variables import TextEmbedding as TextEmbedding

_HOMES = {
    "front": "align run",
    "alignment": "Alignment",
    "backbone": "Backbone Defaults classifier_free",
    "budget": "Budget",
    "controls": "Controls Embedding",
    "hookspecs": "hookimpl hookspec",
    "ledger": "Ledger",
    "memory": "MemoryPolicy Setup",
    "method": "Method Needs Snapshot",
    "noise": "GivenNoise KeyedNoise",
    "preparation": "prepare",
    "problem": "Look Problem",
    "reward": "Card Reward",
    "scheduler": "GaussianScheduler Prediction Scheduler State Step",
    "steerable": "Steerable steering_hook",
    "transition": "GaussianTransition",
    "variables": "ControllableVariable Noise NullEmbedding Product TextEmbedding",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'tta_core' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tta_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
