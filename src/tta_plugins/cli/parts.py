"""Builds the parts of a run from the names and settings on the command line."""

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
    """The parts of a run for `tta_core.align`: a name if it has no settings, else an object."""

    backbone: object
    method: object
    reward: object
    memory: tuple[object, ...]


def placed(name: str, device: str | None, dtype: str | None) -> object:
    """The name itself; with a device or a dtype, the pipeline of a folder or hub id, loaded with them."""
    if device is None and dtype is None:
        return name
    if not _is_source(name):
        raise InputError(
            f"The backbone {name} sets its own device and dtype. Leave --device and --dtype out; they are for a folder or a hub id "
            "(owner/name)."
        )
    import torch

    load: Any = plugins().registry.find("backbones", "diffusers").load()
    return load(name, device=device, dtype=dtype and getattr(torch, dtype))


def loaded(made: Parts) -> tuple["Backbone", "Reward"]:
    """Load the backbone and the reward, and choose the number of threads for them."""
    from tta_core.protocols.reward import networks_of
    from tta_plugins.cli.threads import fit_threads

    backbone = resolve.backbone(made.backbone)
    reward = resolve.reward(made.reward, backbone)
    fit_threads([*backbone.networks.values(), *networks_of(reward).values()], backbone.device)
    return backbone, reward


def parts(
    backbone: object,
    method: str,
    reward: str,
    memory: Sequence[str],
    settings: Sequence[str],
    settable: Sequence[str] = ("backbone", "method", "reward"),
) -> Parts:
    """The parts of a run.

    The place of a policy's settings is its name, or "memory" if there is only one policy. If the backbone brings its own reward for a name,
    the reward's settings are for that one.
    """
    places = (*settable, *memory, *(["memory"] if len(memory) == 1 else []))
    chosen = assigned(settings, places)
    for policy in memory:
        chosen[policy] |= chosen.get("memory", {})
    made_backbone = _backbone(backbone, chosen.get("backbone", {}))
    if chosen.get("reward"):
        made_backbone = loaded_backbone = resolve.backbone(made_backbone)
        reward = loaded_backbone.defaults.rewards.get(reward, reward)
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
        raise InputError("A folder or a hub id has no settings for --set backbone. Leave them out, or give a backbone by its name.")
    return source


def _is_source(name: str) -> bool:
    """Whether it is a folder or a hub id, by the same rule as in `tta_core.plugins.resolve`."""
    return os.path.isdir(name) or "/" in name
