"""What an arm's images depend on besides prompt and seed: its parts, their weights, versions, kind of device and time steps."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tta_core.protocols.reward import networks_of
from tta_core.running.manifest import manifest_of
from tta_core.running.prepare import Prepared

_PLACES = re.compile(r" at 0x[0-9a-f]+| from .+?(?=, \w+=)")
_RUN_ONLY = ("seed", "negative", "given", "device", "citations")


def identity_of(prepared: Prepared, weights: Mapping[str, str]) -> dict[str, Any]:
    """Plain data with a `key`. Two runs have the same key exactly if their cells may be compared in one table."""
    manifest = {name: without_places(value) for name, value in manifest_of(prepared).items() if name not in _RUN_ONLY}
    device = prepared.problem.backbone.device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    known = {**manifest, "kind of device": kind, "weights": dict(weights)}
    return {**known, "key": hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]}


def weights_of(prepared: Prepared) -> dict[str, str]:
    """A digest of each network's weights, by its role."""
    problem = prepared.problem
    parts = {"reward": problem.reward, "look-ahead": problem.look_ahead_decoder}
    others = {f"{role} {name}": net for role, part in parts.items() for name, net in networks_of(part).items()}
    networks = {**problem.backbone.networks, **others}
    return {role: digest_of(network) for role, network in networks.items()}


def digest_of(network: nn.Module) -> str:
    """SHA-256 of a network's tensors and their names, at about a second per gigabyte. Of tensors without data only shapes count."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if not tensor.is_meta:
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def without_places(value: object) -> object:
    """A `repr` without memory addresses and folders of weights, which differ between machines; the weights themselves have digests."""
    return _PLACES.sub("", value) if isinstance(value, str) else value
