"""Loads a transformers model from a folder, the hub or given tensors, and refuses missing or unknown weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tta_core.errors import LoadError
from tta_plugins.rewards.weight_files import Where, pinned

Dtype = Literal["float32", "bfloat16", "float16"]


def pretrained(kind: Any, where: Where, dtype: Dtype = "float32", revision: str | None = None, unused: tuple[str, ...] = ()) -> nn.Module:
    """The model in eval mode, frozen. `revision` pins a hub repository to a commit; keys that begin with `unused` belong to other parts and
    are ignored.

    Raises:
        LoadError: it cannot be read, or a key is missing, unknown or of another shape: no weight is left at a random value.
    """
    place, pinned_revision = pinned(where)
    return _strict(kind, place, str(where), unused, dtype=getattr(torch, dtype), revision=pinned_revision or revision)


def from_tensors(kind: Any, config: Any, state: Mapping[str, Tensor], source: str, dtype: Dtype) -> nn.Module:
    """The model of a configuration with exactly these tensors. Raises `LoadError` as `pretrained` does."""
    return _strict(kind, None, source, (), config=config, state_dict=dict(state), dtype=getattr(torch, dtype))


def commit(model: Any, where: Where) -> str:
    """The source of a model for its card: the folder, or the repository with its commit."""
    known = getattr(model.config, "_commit_hash", None)
    return f"{where} (commit {known})" if known and not Path(where).exists() else str(where)


def _strict(kind: Any, where: Where | None, source: str, unused: tuple[str, ...], **options: Any) -> nn.Module:
    try:
        model, info = kind.from_pretrained(where, output_loading_info=True, **options)
    except Exception as error:
        raise LoadError(
            f"{kind.__name__} could not be read from {source}: {type(error).__name__}: {error}. Without a network, download the repository "
            "elsewhere and give its folder."
        ) from error
    wrong = {name: sorted(map(str, info[f"{name}_keys"])) for name in ("missing", "unexpected", "mismatched")}
    wrong["unexpected"] = [key for key in wrong["unexpected"] if not key.startswith(unused)]
    if any(wrong.values()):
        listed = "; ".join(f"{len(keys)} {name} ({', '.join(keys[:5])})" for name, keys in wrong.items() if keys)
        raise LoadError(f"{source} is not a checkpoint of {kind.__name__}: {listed}. Use the files that docs/scores.md names.")
    return model.requires_grad_(False).eval()
