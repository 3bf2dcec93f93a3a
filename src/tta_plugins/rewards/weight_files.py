"""Where weights are: a local file, a folder or a repository of the Hugging Face hub, at a commit."""

import hashlib
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from huggingface_hub import hf_hub_download

from tta_core.errors import LoadError

Where = str | PathLike[str]
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def find(where: Where, names: Iterable[str]) -> Path:
    """A local file: `where` itself, or the first of `names` that is in that folder or in the hub repository of that id,
    whose commit, branch or tag may follow it: "owner/name@0123abc".

    Raises:
        LoadError: nothing there; the message says what was looked for and how to get it.
    """
    path, names = Path(where).expanduser(), list(names)
    if path.is_file():
        return path
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                return path / name
        raise LoadError(f"The folder {path} holds no {' or '.join(names)}. Put the file there, or give the path of the file itself.")
    if not _HUB_ID.fullmatch(str(where)):
        raise LoadError(
            f"No file or folder is at {path}, and it is no hub id (owner/name) either. Check the spelling, or download it first."
        )
    return _download(str(where), names)


def provenance(where: Where, file: Path) -> str:
    """`owner/name: file (sha256 ...)`: what a card records. The hub's cache already files by hash; any other file is read once."""
    blob = file.resolve().name
    if not _SHA256.fullmatch(blob):
        with file.open("rb") as stream:
            blob = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{file if Path(where).exists() else f'{where}: {file.name}'} (sha256 {blob})"


def pinned(where: Where) -> tuple[str, str | None]:
    """A place without its revision, and the revision; None where none is named."""
    found = None if Path(where).exists() else _HUB_ID.fullmatch(str(where))
    return (found[1], found[2]) if found and found[2] else (str(where), None)


def _download(repository: str, names: list[str]) -> Path:
    problems, (plain, revision) = [], pinned(repository)
    for name in names:
        try:
            return Path(hf_hub_download(plain, name, revision=revision))
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    raise LoadError(
        f"Could not get {' or '.join(names)} from the hub repository {repository!r} ({'; '.join(problems)}). Without a network, download "
        "the repository elsewhere and give its folder: weights='/path/to/folder'."
    )
