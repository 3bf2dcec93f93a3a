"""The parts of a run as the command line names them, made with the settings that it gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tta_core import resolve
from tta_core.errors import InputError
from tta_core.plugins import plugins
from tta_plugins.cli.assignments import assigned
from tta_plugins.cli.structure import construct


@attrs.frozen
class Parts:
    """What `tta_core.align` is given: names where no setting was, objects elsewhere."""

    backbone: object
    method: object
    reward: object
    memory: tuple[object, ...]


def parts(
    backbone: str,
    method: str,
    reward: str,
    memory: Sequence[str],
    settings: Sequence[str],
    settable: Sequence[str] = ("backbone", "method", "reward"),
) -> Parts:
    """The parts. A policy's settings go by its name, or by "memory" where there is only one.

    A backbone may bring its own reward of a name; that one is then set.
    """
    places = (*settable, *memory, *(["memory"] if len(memory) == 1 else []))
    chosen = assigned(settings, places)
    for policy in memory:
        chosen[policy] |= chosen.get("memory", {})
    made_backbone = _backbone(backbone, chosen.get("backbone", {}))
    if chosen.get("reward"):
        made_backbone = drawing = resolve.backbone(made_backbone)
        reward = drawing.defaults.rewards.get(reward, reward)
    return Parts(
        backbone=made_backbone,
        method=_made("methods", method, chosen["method"]),
        reward=_made("rewards", reward, chosen.get("reward", {})),
        memory=tuple(_made("memory", policy, chosen[policy]) for policy in memory),
    )


def _made(kind: str, name: str, chosen: Mapping[str, str]) -> object:
    return construct(plugins().registry.find(kind, name), chosen) if chosen else name


def _backbone(name: str, chosen: Mapping[str, str]) -> object:
    if chosen and (Path(name).is_dir() or "/" in name):
        raise InputError(f"{name} is a folder or a hub id, which takes no --set backbone settings: they belong to a backbone's name.")
    return _made("backbones", name, chosen)
