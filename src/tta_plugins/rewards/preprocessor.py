"""Reads preprocessor_config.json of a network's folder or repository: the normalisation of its images."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tta_core.errors import LoadError
from tta_plugins.rewards.weight_files import Where, find

Triple = tuple[float, float, float]
NAME = "preprocessor_config.json"


@contextmanager
def preprocessor(where: Where) -> Iterator[dict[str, Any]]:
    """The content of the file. Raises `LoadError` if it is missing or damaged, or if the code inside the context fails to read a value."""
    file = find(where, [NAME])
    try:
        yield json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(
            f"{file} cannot be used: {type(error).__name__}: {error}. Download it again from the weights' repository."
        ) from error


def normalisation(where: Where, mean: Triple, std: Triple) -> tuple[Triple, Triple]:
    """Mean and standard deviation from the file, or the given ones for a folder without it. Raises `LoadError` for a damaged file."""
    if Path(where).is_dir() and not (Path(where) / NAME).is_file():
        return mean, std
    with preprocessor(where) as settings:
        return mean_and_std(settings)


def mean_and_std(settings: Mapping[str, Any]) -> tuple[Triple, Triple]:
    """The normalisation. Raises `ValueError`, `KeyError` or `TypeError` for anything but three numbers in [0, 1] and three above 0."""
    mean, std = _triple(settings["image_mean"]), _triple(settings["image_std"])
    if not all(0 <= level <= 1 for level in mean) or not all(0 < level < math.inf for level in std):
        raise ValueError(f"image_mean is {mean} and image_std is {std}, by which images in [0, 1] cannot be normalised")
    return mean, std


def _triple(values: Sequence[float | int]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue
