"""The record of an experiment: enough to run it again, and whom to cite."""

import importlib.metadata
import platform
from typing import Any

from tta_core.preparation import Prepared
from tta_core.provenance import distribution
from tta_core.reward import card_of


def manifest_of(prepared: Prepared, seed: object) -> dict[str, Any]:
    """The `repr` of every part, settings, versions, device and citations, as plain data for JSON."""
    problem, method = prepared.problem, prepared.method
    parts = {"backbone": problem.backbone, "scheduler": problem.scheduler, "reward": problem.reward, "method": method}
    packages = ("tta-align", "torch", "diffusers", "transformers")
    known = {name: importlib.metadata.version(name) for name in packages if _installed(name)}
    citations = [getattr(type(method), "citation", ""), card_of(problem.reward).citation]
    return {
        **{kind: repr(part) for kind, part in parts.items()},
        "memory": list(prepared.memory),
        "negative": list(prepared.negatives),
        "given": list(prepared.given),
        "height": prepared.setup.height,
        "width": prepared.setup.width,
        "guidance": problem.guidance,
        "steps": len(problem.steps),
        "seed": seed if isinstance(seed, int) or seed is None else list(seed),  # type: ignore[call-overload]
        "versions": {
            "python": platform.python_version(),
            **known,
            **{made[0]: made[1] for made in map(distribution, parts.values()) if made},
        },
        "device": str(problem.backbone.device),
        "citations": [citation for citation in citations if citation],
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
