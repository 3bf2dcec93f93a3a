"""Pipelines of diffusers whose call also takes `tta_method=` and `tta_reward=`, for `from_pretrained(..., custom_pipeline=...)`."""

from pathlib import Path

from tta_core.errors import UnknownNameError
from tta_core.plugins.registry import nearest


def custom_pipeline(family: str) -> str:
    """The file for `DiffusionPipeline.from_pretrained(model, custom_pipeline=custom_pipeline("flux"), trust_remote_code=True)`.

    Args:
        family: "stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3" or "flux".

    Raises:
        UnknownNameError: there is no custom pipeline for the family.
    """
    files = {file.stem.replace("_", "-"): file for file in sorted(Path(__file__).parent.glob("[a-z]*.py")) if file.stem != "steered_call"}
    if family not in files:
        raise UnknownNameError(f"There is no custom pipeline for {family!r}. {nearest(family, list(files))}")
    return str(files[family])
