"""A pipeline from a folder in diffusers' layout, or from the hub."""

import re
from pathlib import Path
from typing import Any

import torch

from tta_core.errors import InputError, LoadError

_WEIGHTS = re.compile(r"[\w-]+?(?:\.(?P<variant>[a-z]\w*))?(?:-\d+-of-\d+)?(?:\.(?P<last>[a-z]\w*))?\.(?:safetensors|bin)")


def load_pipeline(source: str, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> object:
    """The diffusers pipeline of a folder or hub id, every network in one dtype and in evaluation mode, without a safety checker.

    `device` None: "cuda" where torch finds one, else "cpu". `dtype` None: bfloat16 on CUDA, float32 elsewhere. A folder whose weights are
    of one variant ("fp16") and of no other is read as that variant; it is cast to `dtype` like any.

    Raises:
        LoadError: no such folder, no pipeline in it, damaged weights, no access to the hub, or no room on the device; names the folder
            or id.
        InputError: no such device.
    """
    from diffusers import DiffusionPipeline

    place = _place(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
    folder = Path(source)
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise LoadError(
            f"{folder} is not a diffusers pipeline: it has no model_index.json. Give the folder that `pipeline.save_pretrained` wrote."
        )
    try:
        parts = DiffusionPipeline.load_config(source)
        unchecked = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in parts else {}
        pipeline = DiffusionPipeline.from_pretrained(source, variant=_variant(folder), **_in_dtype(dtype), **unchecked)
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
    try:
        return pipeline.to(place)
    except torch.OutOfMemoryError as error:
        raise LoadError(
            f"The pipeline of {source} does not fit on {place} in {dtype}: {error}. Give a smaller dtype or another device; or load it "
            "yourself with `pipeline.enable_model_cpu_offload()`, and give the object."
        ) from error


def _place(device: torch.device | str) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # no device's name; none of that number; a torch that was built without it
        raise InputError(f"{str(device)!r} is no device that torch can use here: {error}. Give cpu, cuda, cuda:1 or another.") from error


def _variant(folder: Path) -> str | None:
    """The one variant that a folder's weights are of, None where there are plain ones too, or several variants."""
    found = [_WEIGHTS.fullmatch(file.name) for file in folder.glob("*/*")]
    variants = {match["variant"] or match["last"] for match in found if match}
    return variants.pop() if len(variants) == 1 else None


def _in_dtype(dtype: torch.dtype) -> dict[str, Any]:
    """One dtype for all networks: left to themselves diffusers takes float32, and transformers 5 the checkpoint's."""
    import diffusers

    major, minor = (int(part) for part in diffusers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (0, 40) else "torch_dtype": dtype}
