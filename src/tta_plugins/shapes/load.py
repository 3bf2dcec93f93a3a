"""Finds the weights, and checks every file against its SHA-256 before its folder is used."""

import functools
import hashlib
from pathlib import Path

from tta_core.errors import LoadError
from tta_plugins.shapes.judge import Judge, read_judge

WEIGHTS = Path(__file__).parent / "weights"
SUMS = "SHA256SUMS"


def pipeline_folder() -> Path:
    """The folder for `StableDiffusionPipeline.from_pretrained`, a model of 64 px images of coloured shapes."""
    return _checked(WEIGHTS) / "pipeline"


def clip_folder() -> Path:
    """The folder for `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained`, the reward."""
    return _checked(WEIGHTS) / "clip"


@functools.cache
def judge() -> Judge:
    """The convnet judge, on the CPU: `judge()(images, prompts)` is the probability that an image has exactly its caption's things."""
    return read_judge(_checked(WEIGHTS) / "judge")


def verify(folder: Path) -> None:
    """Check every file in the folder's SHA256SUMS. Raises `LoadError` with the file's name if one is missing or was changed."""
    sums = folder / SUMS
    if not sums.is_file():
        raise LoadError(f"{sums} is missing, so the embedded model cannot be checked. Reinstall tta-align.")
    for line in sums.read_text(encoding="utf-8").splitlines():
        expected, name = line.split("  ", 1)
        file = folder / name
        if not file.is_file():
            raise LoadError(f"{file} is missing from the embedded model. Reinstall tta-align.")
        if digest(file) != expected:
            raise LoadError(
                f"{file} ({file.stat().st_size} bytes) is truncated or was changed: its SHA-256 is not the one in "
                f"{SUMS}. Reinstall tta-align, or run `python -m tta_plugins.shapes.train` to train new weights."
            )


def digest(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@functools.cache
def _checked(folder: Path) -> Path:
    verify(folder)
    return folder
