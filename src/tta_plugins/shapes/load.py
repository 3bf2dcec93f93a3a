"""Finds the weights. Every file is checked against its SHA-256 before its folder is used."""

import functools
import hashlib
from pathlib import Path

from tta_core.errors import LoadError
from tta_plugins.shapes.judge import Judge, read_judge

WEIGHTS = Path(__file__).parent / "weights"
SUMS = "SHA256SUMS"


def pipeline_folder() -> Path:
    """The folder that `StableDiffusionPipeline.from_pretrained` reads: draws 64 px images of coloured shapes."""
    return _checked(WEIGHTS) / "pipeline"


def clip_folder() -> Path:
    """The folder that `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` read: the reward."""
    return _checked(WEIGHTS) / "clip"


@functools.cache
def judge() -> Judge:
    """The convnet judge, on the CPU: `judge()(images, prompts)` is the probability that exactly these things are there."""
    return read_judge(_checked(WEIGHTS) / "judge")


def verify(folder: Path) -> None:
    """Raises `LoadError`, naming the file, unless every file listed in the folder's SHA256SUMS is as it was."""
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
                f"{SUMS}. Reinstall tta-align, or run `python -m tta_plugins.shapes.train` to make weights of your own."
            )


def digest(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@functools.cache
def _checked(folder: Path) -> Path:
    verify(folder)
    return folder
