"""Prints the commands' output, with characters escaped that would act on the terminal."""

import unicodedata

import typer

from tta_core.values import strict_json

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def say(text: object, err: bool = False) -> None:
    """Print a text on standard output, or on standard error."""
    typer.echo(printable(str(text)), err=err)


def say_json(value: object) -> None:
    """Print a value as strict JSON on standard output."""
    typer.echo(strict_json.dumps(value))


def printable(text: str, kept: str = "\n\t") -> str:
    r"""The text with control characters, terminal escapes and changes of direction escaped, such as `\x1b`."""
    return "".join(one.encode("unicode_escape").decode() if one not in kept and _acts(one) else one for one in text)


def _acts(character: str) -> bool:
    """Whether it is a control character, half a surrogate pair, a line or paragraph separator, or changes the direction."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS
