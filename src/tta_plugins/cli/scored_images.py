"""Scores images on disk with their prompts, in batches. An image that fails does not affect the others."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError, LoadError, RewardError, TTAError
from tta_core.protocols.reward import Reward, networks_of
from tta_core.running.frozen_networks import frozen_networks, on_device
from tta_core.solving.scoring import checked, require_facts
from tta_core.values.images import read_image
from tta_core.values.prompts import facts_of
from tta_plugins.cli.output import say

TENTHS = 10


@attrs.frozen
class Row:
    """One image with its prompt and its scores by reward, or the error that prevented them."""

    image: str
    prompt: str
    scores: Mapping[str, float]
    error: str = ""


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files. A folder is replaced by the images directly in it, sorted by the numbers in their names; `InputError` if it has none."""
    from PIL.Image import registered_extensions

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted((file for file in path.iterdir() if file.suffix.lower() in registered_extensions()), key=_natural)
            if not inside:
                raise InputError(f"The folder {path} holds no image. Give a folder of PNG, JPEG or WebP files, or the files.")
            files += inside
        else:
            files.append(path)
    return files


def paired(files: Sequence[Path], prompts: Sequence[str]) -> list[tuple[Path, str]]:
    """Each file with its prompt: the same for all, one each in order, or matched by the fact "image", a path or a file's name.

    Raises `InputError` if files and prompts do not match.
    """
    if prompts and all("image" in facts_of(prompt) for prompt in prompts):
        named = {Path(str(facts_of(prompt)["image"])): prompt for prompt in prompts}
        if len(named) < len(prompts):
            raise InputError('The column "image" of the prompts names an image twice. Leave one row for each image.')
        matched = {file: named.get(file, named.get(Path(file.name))) for file in files}
        lacking = [file for file, prompt in matched.items() if prompt is None]
        if lacking:
            raise InputError(
                f'{len(lacking)} of {len(files)} images are missing from the column "image" of the prompts; the first is {lacking[0]}. '
                "Add a row for each, or leave those images out."
            )
        return [(file, prompt) for file, prompt in matched.items() if prompt is not None]
    if len(prompts) not in (0, 1, len(files)):
        raise InputError(
            f'There are {len(prompts)} prompts for {len(files)} images. Give one for all, one for each, or a file with a column "image".'
        )
    texts = list(prompts) if len(prompts) == len(files) else [prompts[0] if prompts else ""] * len(files)
    return list(zip(files, texts, strict=True))


def scored(pairs: Sequence[tuple[Path, str]], rewards: Mapping[str, Reward], batch: int, device: str) -> list[Row]:
    """A row for each pair, in order. Progress goes to standard error if there are many. Raises `InputError` if a fact is missing."""
    for reward in rewards.values():
        require_facts(reward, [prompt for _, prompt in pairs])
    networks = [network for reward in rewards.values() for network in networks_of(reward).values()]
    rows: list[Row] = []
    with torch.no_grad(), frozen_networks(networks), on_device(networks, _device(device)):
        for chunk in (pairs[start : start + batch] for start in range(0, len(pairs), batch)):
            before = len(rows)
            rows += _chunk(chunk, rewards)
            if len(pairs) > 2 * batch and len(rows) * TENTHS // len(pairs) > before * TENTHS // len(pairs):
                say(f"{len(rows)} of {len(pairs)} images", err=True)
    return rows


def _chunk(pairs: Sequence[tuple[Path, str]], rewards: Mapping[str, Reward]) -> Iterator[Row]:
    """Score neighbours of the same size together; if that fails, one by one."""
    read = [(path, prompt, _read(path)) for path, prompt in pairs]
    for shape, group in groupby(read, key=lambda item: item[2].shape if isinstance(item[2], Tensor) else None):
        together = list(group)
        if shape is None:
            yield from (Row(str(path), prompt, {}, str(error)) for path, prompt, error in together)
            continue
        try:
            yield from _rows(together, rewards)
        except RewardError:
            yield from (_alone(item, rewards) for item in together)


def _rows(read: Sequence[tuple[Path, str, Tensor | LoadError]], rewards: Mapping[str, Reward]) -> list[Row]:
    images = torch.stack([pixels for _, _, pixels in read if isinstance(pixels, Tensor)])
    prompts = [prompt for _, prompt, _ in read]
    columns = {name: checked(reward, images, prompts).tolist() for name, reward in rewards.items()}
    return [Row(str(path), prompt, {name: values[row] for name, values in columns.items()}) for row, (path, prompt, _) in enumerate(read)]


def _alone(item: tuple[Path, str, Tensor | LoadError], rewards: Mapping[str, Reward]) -> Row:
    try:
        return _rows([item], rewards)[0]
    except TTAError as error:
        return Row(str(item[0]), item[1], {}, str(error))


def _read(path: Path) -> Tensor | LoadError:
    try:
        return read_image(path)
    except LoadError as error:
        return error


def _device(name: str) -> torch.device:
    if name == "meta":
        raise InputError("--device meta cannot be used, since tensors have no values there. Give cpu, cuda or cuda:1.")
    try:
        return torch.empty(0, device=name).device
    except Exception as error:
        raise InputError(f"--device {name} cannot be used: {str(error).splitlines()[0]}. Give cpu, cuda or cuda:1.") from error


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
