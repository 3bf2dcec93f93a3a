"""One node for each registered method and reward, those of third-party packages included, with its settings as widgets."""

from collections.abc import Mapping
from typing import Any

import torch

from tta_core import Backbone, Method, Reward
from tta_core.errors import LoadError
from tta_core.plugins import resolve
from tta_core.plugins.discovery import plugins
from tta_core.plugins.registry import Entry
from tta_plugins.cli.settings import Setting, settings_of
from tta_plugins.cli.structure import construct

from .widgets import Widget, changed, widget


def method_node(entry: Entry) -> type:
    """The node of one method."""

    class MethodNode:
        """Makes a method for the align node."""

        CATEGORY = "tta-align/methods"
        DESCRIPTION = entry.summary
        RETURN_TYPES = ("TTA_METHOD",)
        RETURN_NAMES = ("method",)
        FUNCTION = "make"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, dict[str, Widget]]:
            """The settings."""
            return _inputs(entry)

        def make(self, **given: object) -> tuple[Method]:
            """The method with these settings. Raises `TTAError` for values that it refuses."""
            with torch.inference_mode(False):  # ComfyUI runs nodes in that mode, whose tensors never get gradients
                return (resolve.method(_made(entry, entry.name, given)),)

    return MethodNode


def reward_node(entry: Entry) -> type:
    """The node of one reward. It takes the backbone, which may bring its own reward of a name, as the embedded model does for "clip"."""

    class RewardNode:
        """Makes a reward for the align node."""

        CATEGORY = "tta-align/rewards"
        DESCRIPTION = entry.summary
        RETURN_TYPES = ("TTA_REWARD",)
        RETURN_NAMES = ("reward",)
        FUNCTION = "make"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
            """The backbone and the settings."""
            inputs: dict[str, dict[str, Any]] = dict(_inputs(entry))
            return {**inputs, "required": {"tta_backbone": ("TTA_BACKBONE",), **inputs["required"]}}

        def make(self, tta_backbone: Backbone, **given: object) -> tuple[Reward]:
            """The reward with these settings, its weights loaded. Raises `TTAError` for values that it refuses."""
            with torch.inference_mode(False):
                name = tta_backbone.defaults.rewards.get(entry.name, entry.name)
                return (resolve.reward(_made(entry, name, given), tta_backbone),)

    return RewardNode


def _made(node: Entry, name: str, given: Mapping[str, object]) -> object:
    """The part of that name; the name itself where no setting of the node was changed."""
    settings = _settings(node)
    chosen = changed({name: widget(setting) for name, setting in settings.items()}, given)
    settled = not chosen and all(setting.default for setting in settings.values())
    return name if settled else construct(plugins().registry.find(node.kind, name), chosen)


def _inputs(node: Entry) -> dict[str, dict[str, Widget]]:
    """Of a part that cannot be imported, none: making it says why, and the other nodes are there."""
    try:
        settings = _settings(node)
    except LoadError:
        settings = {}
    return {
        "required": {name: widget(setting) for name, setting in settings.items() if not setting.default},
        "optional": {name: widget(setting) for name, setting in settings.items() if setting.default},
    }


def _settings(node: Entry) -> dict[str, Setting]:
    return settings_of(plugins().registry.find(node.kind, node.name).load())
