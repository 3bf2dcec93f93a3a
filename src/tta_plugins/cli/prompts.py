"""Collects the prompts from the command line and from a file."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from tta_core.errors import InputError
from tta_core.running.prompt_files import read_prompts
from tta_plugins.cli.output import say


def prompts_of(given: Sequence[str], file: Path | None) -> list[str]:
    """All prompts, those of the command line first. Raises `InputError` if there is none."""
    prompts = [*given, *([] if file is None else _read(file))]
    if not prompts:
        raise InputError('There is no prompt. Give one in quotes, as in `tta align "a red circle"`, or a file of prompts with --prompts.')
    repeated = len(prompts) - len(set(prompts))
    if repeated:
        say(f"tta: {repeated} of {len(prompts)} prompts repeat another one; each is sampled from its own noise.", err=True)
    return prompts


def _read(file: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompts = read_prompts(file)
    for warning in caught:
        say(f"tta: {warning.message}", err=True)
    return prompts
