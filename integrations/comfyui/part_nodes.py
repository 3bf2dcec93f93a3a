"""One node for each registered method and reward, including those of third-party packages, with its settings as widgets."""

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
        """Builds a method for the align node."""

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
            """The method with these settings. Raises `TTAError` for invalid values."""
            with torch.inference_mode(False):  # ComfyUI runs nodes in inference mode, whose tensors cannot have gradients
                return (resolve.method(_made(entry, entry.name, given)),)

    return MethodNode


def reward_node(entry: Entry) -> type:
    """The node of one reward. It takes the backbone, which may bring its own reward for a name, such as the embedded model's "clip"."""

    class RewardNode:
        """Builds a reward for the align node."""

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
            """The reward with these settings and its weights loaded. Raises `TTAError` for invalid values."""
            with torch.inference_mode(False):
                name = tta_backbone.defaults.rewards.get(entry.name, entry.name)
                return (resolve.reward(_made(entry, name, given), tta_backbone),)

    return RewardNode


def _made(node: Entry, name: str, given: Mapping[str, object]) -> object:
    """The part with this name; the name itself if no setting of the node was changed."""
    settings = _settings(node)
    chosen = changed({name: widget(setting) for name, setting in settings.items()}, given)
    is_default = not chosen and all(setting.default for setting in settings.values())
    return name if is_default else construct(plugins().registry.find(node.kind, name), chosen)


def _inputs(node: Entry) -> dict[str, dict[str, Widget]]:
    """The widgets. A part that cannot be imported has none, so that the other nodes still work; building it raises the error."""
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
