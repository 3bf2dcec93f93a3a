"""preprocessor_config.json beside a network's weights: how its images are normalised."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tta_core.errors import LoadError
from tta_plugins.rewards.weight_files import Where, find

Triple = tuple[float, float, float]
NAME = "preprocessor_config.json"


@contextmanager
def preprocessor(where: Where) -> Iterator[dict[str, Any]]:
    """Its content. Raises `LoadError` if it is absent or damaged, or if the code inside finds a value missing or wrong."""
    file = find(where, [NAME])
    try:
        yield json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"{file} cannot be used: {type(error).__name__}: {error}. Get it again from the weights' repository.") from error


def normalisation(where: Where, mean: Triple, std: Triple) -> tuple[Triple, Triple]:
    """Its mean and standard deviation; those that are given for a folder without the file. Raises `LoadError` for a damaged one."""
    if Path(where).is_dir() and not (Path(where) / NAME).is_file():
        return mean, std
    with preprocessor(where) as told:
        return triple(told["image_mean"]), triple(told["image_std"])


def triple(values: Sequence[float | int]) -> Triple:
    """Three numbers. Raises `ValueError` or `TypeError` for anything else."""
    red, green, blue = map(float, values)
    return red, green, blue
