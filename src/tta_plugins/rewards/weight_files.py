"""Finds weight files: a local file, a folder or a repository of the Hugging Face hub at a commit."""

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
    """A local file: `where` itself, or the first of `names` that exists in that folder or in the hub repository of that id. A commit,
    branch or tag can follow the id: "owner/name@0123abc".

    Raises:
        LoadError: no such file exists; the message lists the names and how to get the file.
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
        raise LoadError(f"{path} does not exist, and it is not a hub id (owner/name) either. Check the spelling, or download it first.")
    return _download(str(where), names)


def provenance(where: Where, file: Path) -> str:
    """`owner/name: file (sha256 ...)` for a card. In the hub's cache, file names are hashes; other files are read to compute it."""
    blob = file.resolve().name
    if not _SHA256.fullmatch(blob):
        with file.open("rb") as stream:
            blob = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{file if Path(where).exists() else f'{where}: {file.name}'} (sha256 {blob})"


def pinned(where: Where) -> tuple[str, str | None]:
    """A folder or hub id without its revision, and the revision, or None."""
    match = None if Path(where).exists() else _HUB_ID.fullmatch(str(where))
    return (match[1], match[2]) if match and match[2] else (str(where), None)


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
