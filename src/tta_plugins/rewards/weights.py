"""Weights from a local file, a folder or the Hugging Face hub, onto a network, strictly: a missing or unknown key is an error."""

import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor, nn

from tta_core.errors import LoadError

Where = str | PathLike[str]
Net = TypeVar("Net", bound=nn.Module)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def find(where: Where, names: Iterable[str]) -> Path:
    """A local file: `where` itself, or the first of `names` that is in that folder or in the hub repository of that id.

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


def read_state(file: Path, dtype: torch.dtype | None = torch.float32) -> dict[str, Tensor]:
    """A checkpoint's tensors by key, on the CPU, floats as `dtype` (None: as stored). Unwrapped
    from "state_dict" and free of "module." prefixes.

    Only tensors are unpickled (`weights_only=True`): a checkpoint cannot run code.
    """
    try:
        if file.suffix == ".safetensors":
            content: object = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise LoadError(
            f"{file} ({file.stat().st_size:,} bytes) cannot be read as weights: {type(error).__name__}: {error}. "
            "A download that stopped early looks like this: delete the file, get it again, and compare its size and sha256."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise LoadError(
            f"{file} holds {type(content).__name__}, not a dictionary of tensors by key. It is not a checkpoint of this reward."
        )
    return {
        key.removeprefix("module."): value.to(dtype or value.dtype) if value.is_floating_point() else value
        for key, value in content.items()
    }


def build(make: Callable[[], Net], state: Mapping[str, Tensor], where: str, unknown: Literal["refuse", "ignore"] = "refuse") -> Net:
    """The network that `make` describes, holding exactly the tensors of `state`: frozen, in eval mode, without a random initialisation.

    Raises:
        LoadError: a key is missing, unknown (which `unknown="ignore"` turns into a warning), or of another shape; the message lists
            them and names `where` they come from.
    """
    with torch.device("meta"):
        network = make()
    wanted, strange = network.state_dict(), state.keys() - network.state_dict().keys()
    if strange and unknown == "ignore":
        ignore(strange, where)
        state, strange = {key: state[key] for key in state if key in wanted}, set()
    refuse(wanted.keys() - state.keys(), strange, where, type(network).__name__)
    for key, value in wanted.items():
        if value.shape != state[key].shape:
            raise LoadError(
                f"{where}: {key} has shape {tuple(state[key].shape)}, but this {type(network).__name__} needs {tuple(value.shape)}. "
                "The configuration and the weights belong to different models."
            )
    network.load_state_dict(dict(state), assign=True)
    _number_positions(network)
    return network.requires_grad_(False).eval()


def refuse(missing: Iterable[str], unknown: Iterable[str], where: str, what: str) -> None:
    """Raise `LoadError` if any key is missing or unknown."""
    missing, unknown = sorted(missing), sorted(unknown)
    if missing or unknown:
        raise LoadError(
            f"{where} is not a checkpoint of {what}: {_listed('missing', missing)}{_listed('unknown', unknown)}"
            "no weight is ever left at random. Use the file that docs/scores.md names."
        )


def ignore(keys: Iterable[str], where: str) -> None:
    """Warn that keys are not used."""
    warnings.warn(f"{where}: not used: {_listed('unknown', sorted(keys)).removesuffix('; ')}.", stacklevel=3)


def require(state: Mapping[str, Tensor], keys: Iterable[str], where: str, what: str) -> None:
    """Raise `LoadError` if a key is absent from which the architecture is to be read."""
    refuse(set(keys) - state.keys(), (), where, what)


def depth(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers a checkpoint has under a prefix, numbered from 0."""
    return 1 + max((int(key.removeprefix(prefix).split(".")[0]) for key in state if key.startswith(prefix)), default=-1)


def provenance(where: Where, file: Path) -> str:
    """`owner/name: file (sha256 ...)`: what a card records. The hub's cache already files by hash; any other file is read once."""
    blob = file.resolve().name
    if not _SHA256.fullmatch(blob):
        with file.open("rb") as stream:
            blob = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{file if Path(where).exists() else f'{where}: {file.name}'} (sha256 {blob})"


def _download(repository: str, names: list[str]) -> Path:
    problems = []
    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    raise LoadError(
        f"Could not get {' or '.join(names)} from the hub repository {repository!r} ({'; '.join(problems)}). Without a network, download "
        "the repository elsewhere and give its folder: weights='/path/to/folder'."
    )


def _number_positions(network: nn.Module) -> None:
    """Make the position numbers again, which no checkpoint carries: the one kind of buffer that CLIP and BLIP have."""
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):
            owner, _, leaf = name.rpartition(".")
            device = next(network.parameters()).device
            setattr(network.get_submodule(owner), leaf, torch.arange(buffer.shape[-1], device=device).expand(1, -1))


def _listed(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:5])}{more}); " if keys else ""
