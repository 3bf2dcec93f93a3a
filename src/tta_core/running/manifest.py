"""The record of a run: settings, versions and citations, enough to run it again."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from tta_core.protocols.native_sampler import NativeSampler
from tta_core.protocols.reward import card_of
from tta_core.protocols.wrappers import WrappedBackbone, WrappedMixture, WrappedReward
from tta_core.running.prepare import Prepared
from tta_core.values.arguments import several, whole, written
from tta_core.values.provenance import distribution, name_of
from tta_core.values.trajectory import Step


def manifest_of(prepared: Prepared) -> dict[str, Any]:
    """The `repr` of every part, settings, versions, device, dtypes and citations, as plain data for JSON.

    `sampler`: the name that the user gave (empty: an object was given), the backbone's own, and a digest of the table of steps.
    """
    request, seed = prepared.request, prepared.request.seed
    seeds = several("seed", seed)
    problem, method, sampler = prepared.problem, prepared.method, prepared.problem.backbone.sampler
    parts = {"backbone": problem.backbone, "scheduler": problem.scheduler, "reward": problem.reward, "method": method}
    packages = ("tta-align", "torch", "diffusers", "transformers")
    known = {name: importlib.metadata.version(name) for name in packages if _installed(name)}
    citations = [getattr(type(method), "citation", ""), card_of(problem.reward).citation]
    return {
        **{kind: written(part) for kind, part in parts.items()},
        "sampler": {
            "asked": request.scheduler if isinstance(request.scheduler, str) else "",
            "native": name_of(NativeSampler.of(sampler).scheduler),
            "table": _digest(problem.steps),
        },
        "dtypes": {role: str(_dtype(network)) for role, network in problem.backbone.networks.items()},
        "memory": list(prepared.memory),
        "negative": list(prepared.negatives),
        "given": list(request.given),
        "height": prepared.setup.height,
        "width": prepared.setup.width,
        "guidance": problem.guidance if isinstance(problem.guidance, int | float) else written(problem.guidance),
        "steps": len(problem.steps),
        "seed": whole("seed", seed) if seeds is None else [whole("seed", one) for one in seeds],
        "versions": {
            "python": platform.python_version(),
            **known,
            **{made[0]: made[1] for part in parts.values() for made in map(distribution, _within(part)) if made},
        },
        "device": str(problem.backbone.device),
        "threads": torch.get_num_threads(),
        "citations": [citation for citation in citations if citation],
    }


def _within(part: object) -> Iterator[object]:
    """A part and the parts that it wraps, whose packages are recorded too."""
    yield part
    if isinstance(part, WrappedBackbone):
        yield from _within(part.backbone)
    elif isinstance(part, WrappedReward | WrappedMixture):
        yield from _within(part.reward)


def _digest(steps: Sequence[Step]) -> str:
    """A digest of a sampler's table to six digits: two runs with different digests use different steps."""
    rows = [[f"{value:.6g}" if isinstance(value, float) else str(value) for value in attrs.astuple(step)] for step in steps]  # type: ignore[arg-type]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def _dtype(network: nn.Module) -> torch.dtype | None:
    return next((parameter.dtype for parameter in network.parameters()), None)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
