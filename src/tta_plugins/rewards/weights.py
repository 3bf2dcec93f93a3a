"""Loads weights from a file into a network; a missing or unknown key is an error."""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tta_core.errors import LoadError

Net = TypeVar("Net", bound=nn.Module)
_WRAPPERS = ("module.", "_orig_mod.")
# numpy scalars that a file may contain besides the state dict, such as an epoch or a loss
_NUMBERS: list[Any] = [
    *((numpy.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    numpy.dtype,
    *{type(numpy.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")},
]


def read_state(file: Path, dtype: torch.dtype | None = torch.float32) -> dict[str, Tensor]:
    """A checkpoint's tensors by key, on the CPU, floats as `dtype` (None: as stored).

    For a file `*.index.json`, the shards in its folder are read. "state_dict" is unwrapped, and prefixes of training wrappers are removed.
    Only tensors and plain numbers are unpickled, so that a checkpoint cannot run code. Raises `LoadError` for anything else.
    """
    content = _shards(file) if file.name.endswith(".index.json") else _content(file)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise LoadError(
            f"{file} is not a checkpoint: it holds {type(content).__name__}, not a dictionary of tensors by key. Use the file that "
            "docs/scores.md names."
        )
    wrong = [key for key in content if not isinstance(key, str)]
    if wrong:
        raise LoadError(
            f"{file} is not a checkpoint of a network: its key {wrong[0]!r} is {type(wrong[0]).__name__}, but keys must be names. Use the "
            "file that docs/scores.md names."
        )
    return {_plain(key): value.to(dtype or value.dtype) if value.is_floating_point() else value for key, value in content.items()}


def _content(file: Path) -> object:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise LoadError(
            f"{file} ({file.stat().st_size:,} bytes) cannot be read as weights: {type(error).__name__}: {error}. "
            "The download may be incomplete. Delete the file, download it again, and compare its size and sha256."
        ) from error


def _shards(index: Path) -> dict[str, object]:
    """The tensors of every shard in an index."""
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise LoadError(f"{index} cannot be read as an index of shards: {type(error).__name__}: {error}. Download it again.") from error
    merged: dict[str, object] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (index.parent / name).is_file():
            raise LoadError(f"{index} names the shard {name!r}, which is not in its folder. Download all files of the repository.")
        shard = _content(index.parent / name)
        if not isinstance(shard, Mapping):
            raise LoadError(f"{index.parent / name} holds {type(shard).__name__}, not tensors by key. Download it again.")
        merged |= shard
    return merged


def _plain(key: str) -> str:
    """The key without the prefixes of DistributedDataParallel and torch.compile."""
    while key.startswith(_WRAPPERS):
        key = key.partition(".")[2]
    return key.replace("._orig_mod.", ".")


def build(make: Callable[[], Net], state: Mapping[str, Tensor], where: str, unknown: Literal["refuse", "ignore"] = "refuse") -> Net:
    """The network of `make` with exactly the tensors of `state`: frozen, in eval mode, without random initialisation.

    Raises:
        LoadError: a key is missing, unknown (with `unknown="ignore"` only a warning), or of another shape; the message lists the keys and
            their source `where`.
    """
    with torch.device("meta"):
        network = make()
    expected, extra = network.state_dict(), state.keys() - network.state_dict().keys()
    if extra and unknown == "ignore":
        ignore(extra, where)
        state, extra = {key: state[key] for key in state if key in expected}, set()
    refuse(expected.keys() - state.keys(), extra, where, type(network).__name__)
    for key, value in expected.items():
        if value.shape != state[key].shape:
            raise LoadError(
                f"{where}: {key} has shape {tuple(state[key].shape)}, but this {type(network).__name__} needs {tuple(value.shape)}. "
                "The configuration and the weights belong to different models. Use the files of one model."
            )
        if value.is_floating_point() and not state[key].is_floating_point():
            raise LoadError(
                f"{where}: {key} holds {state[key].dtype} numbers, but weights are floats. The file is quantised or damaged. Use the file "
                "that docs/scores.md names."
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
            "all weights must come from the file. Use the file that docs/scores.md names."
        )


def ignore(keys: Iterable[str], where: str) -> None:
    """Warn that keys are not used."""
    warnings.warn(f"{where}: not used: {_listed('unknown', sorted(keys)).removesuffix('; ')}.", stacklevel=3)


def require(state: Mapping[str, Tensor], keys: Iterable[str], where: str, what: str) -> None:
    """Raise `LoadError` if a key is missing that is needed to determine the architecture."""
    refuse(set(keys) - state.keys(), (), where, what)


def depth(state: Mapping[str, Tensor], prefix: str) -> int:
    """The number of layers that a checkpoint has under a prefix; they are numbered from 0."""
    return 1 + max((int(key.removeprefix(prefix).split(".")[0]) for key in state if key.startswith(prefix)), default=-1)


def _number_positions(network: nn.Module) -> None:
    """Creates the buffers of position numbers, which checkpoints do not contain; CLIP and BLIP have no other buffers."""
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):
            owner, _, leaf = name.rpartition(".")
            device = next(network.parameters()).device
            setattr(network.get_submodule(owner), leaf, torch.arange(buffer.shape[-1], device=device).expand(1, -1))


def _listed(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:5])}{more}); " if keys else ""
