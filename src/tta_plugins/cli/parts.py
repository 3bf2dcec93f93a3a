"""The parts of a run as the command line names them, made with the settings that it gives."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.plugins.discovery import plugins
from tta_plugins.cli.assignments import assigned
from tta_plugins.cli.structure import construct

if TYPE_CHECKING:
    from tta_core.protocols.backbone import Backbone
    from tta_core.protocols.reward import Reward


@attrs.frozen
class Parts:
    """What `tta_core.align` is given: names where no setting was, objects elsewhere."""

    backbone: object
    method: object
    reward: object
    memory: tuple[object, ...]


def placed(name: str, device: str | None, dtype: str | None) -> object:
    """The name itself; with a device or a dtype, the pipeline of a folder or hub id, loaded so."""
    if device is None and dtype is None:
        return name
    if not _is_source(name):
        raise InputError(
            f"{name} is a backbone's name, which decides on its device and dtype itself. Leave --device and --dtype out; they are for a "
            "folder or a hub id (owner/name)."
        )
    import torch

    load: Any = plugins().registry.find("backbones", "diffusers").load()
    return load(name, device=device, dtype=dtype and getattr(torch, dtype))


def loaded(made: Parts) -> tuple["Backbone", "Reward"]:
    """The backbone and the reward themselves, with as many threads as are worth while for them."""
    from tta_core.protocols.reward import networks_of
    from tta_plugins.cli.threads import fit_threads

    drawing = resolve.backbone(made.backbone)
    judge = resolve.reward(made.reward, drawing)
    fit_threads([*drawing.networks.values(), *networks_of(judge).values()], drawing.device)
    return drawing, judge


def parts(
    backbone: object,
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
        memory=tuple(_policy(policy, chosen[policy]) for policy in memory),
    )


def _made(kind: str, name: str, chosen: Mapping[str, str]) -> object:
    return construct(plugins().registry.find(kind, name), chosen) if chosen else name


def _policy(name: str, chosen: Mapping[str, str]) -> object:
    limit = resolve.size_in_bytes(name)
    return _made("memory", name, chosen) if limit is None or not chosen else _made("memory", "auto", {"limit": str(limit), **chosen})


def _backbone(source: object, chosen: Mapping[str, str]) -> object:
    if isinstance(source, str) and not _is_source(source):
        return _made("backbones", source, chosen)
    if chosen:
        raise InputError("A folder or a hub id takes no --set backbone settings: they belong to a backbone's name.")
    return source


def _is_source(name: str) -> bool:
    """Whether it is a folder or a hub id, as `tta_core.plugins.resolve` tells them from names."""
    return os.path.isdir(name) or "/" in name
