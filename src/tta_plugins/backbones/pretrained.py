"""A pipeline from a folder in diffusers' layout, or from the hub."""

from pathlib import Path
from typing import Any

import torch

from tta_core.errors import LoadError


def load_pipeline(source: str, dtype: torch.dtype = torch.float32) -> object:
    """The diffusers pipeline of a folder or hub id, every network in one dtype and in evaluation mode, without a safety checker.

    Raises:
        LoadError: no such folder, no pipeline in it, damaged weights, or no access to the hub; names the folder or id.
    """
    from diffusers import DiffusionPipeline

    folder = Path(source)
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise LoadError(
            f"{folder} is not a diffusers pipeline: it has no model_index.json. Give the folder that `pipeline.save_pretrained` wrote."
        )
    try:
        parts = DiffusionPipeline.load_config(source)
        unchecked = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in parts else {}
        return DiffusionPipeline.from_pretrained(source, **_in_dtype(dtype), **unchecked)
    except Exception as error:
        if folder.exists():
            what = (
                f"The pipeline in {folder} could not be loaded. A file is missing or damaged, or a package that it needs is not installed"
            )
        else:
            what = (
                f"{source!r} is no folder, and as a hub id it could not be loaded. Check the spelling, the network, and for a gated model "
                "`hf auth login`; or download it elsewhere and give its folder"
            )
        raise LoadError(f"{what}: {type(error).__name__}: {error}") from error


def _in_dtype(dtype: torch.dtype) -> dict[str, Any]:
    """One dtype for all networks: left to themselves diffusers takes float32, and transformers 5 the checkpoint's."""
    import diffusers

    major, minor = (int(part) for part in diffusers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (0, 40) else "torch_dtype": dtype}
