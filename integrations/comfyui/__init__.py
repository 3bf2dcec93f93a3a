"""tta-align's nodes for ComfyUI: load a model, choose a method and a reward, and align. ComfyUI reads the two mappings."""

import logging

from tta_core.plugins.discovery import plugins

from .align_node import Align
from .load_node import LoadBackbone
from .part_nodes import method_node, reward_node

_methods = {f"TTA method {entry.name}": method_node(entry) for entry in plugins().registry.entries("methods")}
_rewards = {f"TTA reward {entry.name}": reward_node(entry) for entry in plugins().registry.entries("rewards")}

NODE_CLASS_MAPPINGS: dict[str, type] = {"TTA load backbone": LoadBackbone, **_methods, **_rewards, "TTA align": Align}
NODE_DISPLAY_NAME_MAPPINGS = {name: name for name in NODE_CLASS_MAPPINGS}

for _found in plugins().found:
    if _found.problem:
        logging.warning("tta-align: the plugin %s is left out: %s", _found, _found.problem)
