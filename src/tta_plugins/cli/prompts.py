"""Prompts from the command line and from a file, one a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tta_core.errors import InputError, LoadError
from tta_core.running.atomic_files import reason
from tta_plugins.cli.output import say

_BYTE_ORDER_MARK = "\ufeff"


def prompts_of(given: Sequence[str], file: Path | None) -> list[str]:
    """All prompts, those of the command line first. Raises `InputError` if there is none, or one that is not Unicode."""
    prompts = [*given, *([] if file is None else _read(file))]
    if not prompts:
        raise InputError('There is no prompt. Give one in quotes, as in `tta align "a red circle"`, or a file of them with --prompts.')
    for prompt in prompts:
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise InputError(f"The prompt {prompt!r} is not UTF-8. Set the terminal to UTF-8, or give a UTF-8 file with --prompts.")
    repeated = len(prompts) - len(set(prompts))
    if repeated:
        say(f"tta: {repeated} of {len(prompts)} prompts repeat another one; each is drawn from noise of its own.", err=True)
    return prompts


def _read(file: Path) -> list[str]:
    r"""The lines that are not blank. Lines end with \n or \r\n, and with nothing else that Unicode counts as a line's end."""
    try:
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        raise LoadError(f"{file} could not be read as prompts: {reason(error)}. Give a UTF-8 text file with one prompt a line.") from error
    lines = [line.removeprefix(_BYTE_ORDER_MARK).strip(" \t") for line in _lines(file, content)]
    prompts = [line for line in lines if line.strip()]
    blank = len(lines) - len(prompts)
    if blank:
        say(f"tta: {file}: {blank} blank line(s) skipped.", err=True)
    return prompts


def _lines(file: Path, content: bytes) -> Iterator[str]:
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            text = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise LoadError(f"{file}, line {number}, is not UTF-8 ({error.reason}). Save the file as UTF-8, one prompt a line.") from error
        if "\0" in text:
            raise LoadError(f"{file}, line {number}, holds a null character, so it is no UTF-8 text. Save it as UTF-8, one prompt a line.")
        yield text
