"""The backbone and the reward of the last run, which stay loaded for the next one."""

from collections.abc import Sequence

import attrs

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.reward import Reward
from tta_plugins.cli.parts import Parts, loaded, parts


@attrs.define
class Models:
    """Loads what a run names, unless the last run had it. One that is no longer wanted is released before another is loaded."""

    _backbone: Backbone | None = None
    _backbone_name: str = ""
    _reward: Reward | None = None
    _reward_name: str = ""

    def parts(
        self, backbone: str, method: str, reward: str, memory: Sequence[str], settings: Sequence[str]
    ) -> tuple[Parts, Backbone, Reward]:
        """The parts of a run, and its backbone and reward, loaded. What is made with settings of its own is made for this run alone."""
        set_anew = any(text.strip().startswith("backbone.") for text in settings)
        if set_anew or backbone != self._backbone_name:
            self._backbone, self._backbone_name = None, ""
            self._reward, self._reward_name = None, ""
        made = parts(backbone if self._backbone is None else self._backbone, method, reward, memory, settings)
        if made.reward != self._reward_name:
            self._reward, self._reward_name = None, ""
        drawing, judge = loaded(attrs.evolve(made, reward=made.reward if self._reward is None else self._reward))
        if not set_anew:
            self._backbone, self._backbone_name = drawing, backbone
            if isinstance(made.reward, str):
                self._reward, self._reward_name = judge, made.reward
        return made, drawing, judge
