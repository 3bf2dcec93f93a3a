"""Keeps the backbone and the reward of the last run loaded for the next one."""

from collections.abc import Sequence

import attrs

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.reward import Reward
from tta_plugins.cli.parts import Parts, loaded, parts


@attrs.define
class Models:
    """Loads a run's backbone and reward, or reuses those of the last run. Others are released before new ones are loaded."""

    _backbone: Backbone | None = None
    _backbone_name: str = ""
    _reward: Reward | None = None
    _reward_name: str = ""

    def parts(
        self, backbone: str, method: str, reward: str, memory: Sequence[str], settings: Sequence[str]
    ) -> tuple[Parts, Backbone, Reward]:
        """The parts of a run, and its loaded backbone and reward. Those with settings are built for this run only."""
        has_settings = any(text.strip().startswith("backbone.") for text in settings)
        if has_settings or backbone != self._backbone_name:
            self._backbone, self._backbone_name = None, ""
            self._reward, self._reward_name = None, ""
        made = parts(backbone if self._backbone is None else self._backbone, method, reward, memory, settings)
        if made.reward != self._reward_name:
            self._reward, self._reward_name = None, ""
        model, scorer = loaded(attrs.evolve(made, reward=made.reward if self._reward is None else self._reward))
        if not has_settings:
            self._backbone, self._backbone_name = model, backbone
            if isinstance(made.reward, str):
                self._reward, self._reward_name = scorer, made.reward
        return made, model, scorer
