"""Loads a pipeline from a folder in diffusers' layout, or from the hub."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open

from tta_core.errors import InputError, LoadError
from tta_plugins.backbones.versions import installed
from tta_plugins.backbones.vetting import check_files, index_of, parts_of

_DERIVED = ("position_ids", "inv_freq")  # buffers of older checkpoints, which newer versions compute
_WEIGHTS = re.compile(r"[\w-]+?(?:\.(?P<variant>[a-z]\w*))?(?:-\d+-of-\d+)?(?:\.(?P<last>[a-z]\w*))?\.(?:safetensors|bin)")


def load_pipeline(
    source: str, dtype: torch.dtype | None = None, device: torch.device | str | None = None, revision: str | None = None
) -> object:
    """The diffusers pipeline of a folder or hub id, with every network in one dtype and in evaluation mode, without a safety checker.

    `device` None: "cuda" if torch finds one, else "cpu". `dtype` None: bfloat16 on CUDA, float32 elsewhere. A folder that has weights of
    only one variant ("fp16") is read as that variant, and cast to `dtype`. `revision` is a branch, tag or commit of a hub repository; it
    can also be given as "owner/name@revision".

    Raises:
        LoadError: the folder does not exist or has no pipeline, the weights are damaged or belong to another model, the pipeline contains
            code, the hub cannot be reached, or the device has too little memory; the message names the folder or id.
        InputError: the device or the dtype does not exist, or a folder is given with a revision.
    """
    from diffusers import DiffusionPipeline

    place = _place(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"dtype is {dtype!r}, but it takes a torch dtype of floats, such as torch.bfloat16.")
    folder, name = _folder(source, revision)
    parts = parts_of(index_of(folder), source)
    check_files(folder, parts)
    try:
        networks = {part: _network(folder, part, cls, dtype) for part, cls in parts.items() if issubclass(cls, torch.nn.Module)}
        unchecked = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in index_of(folder) else {}
        with _quiet():
            pipeline = DiffusionPipeline.from_pretrained(folder, variant=_variant(folder), **_in_dtype(dtype), **networks, **unchecked)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(
            f"The pipeline in {folder} could not be loaded. A file is missing or damaged, or a package that it needs is not installed: "
            f"{type(error).__name__}: {error}"
        ) from error
    _check_words(pipeline, folder)
    pipeline.register_to_config(_name_or_path=name)
    try:
        return pipeline.to(place)
    except torch.OutOfMemoryError as error:
        raise LoadError(
            f"The pipeline of {source} does not fit on {place} in {dtype}: {error}. Give a smaller dtype or another device; or load it "
            "yourself with `pipeline.enable_model_cpu_offload()`, and give the object."
        ) from error


def _folder(source: str, revision: str | None) -> tuple[Path, str]:
    """The folder, downloaded if it is on the hub, and its name for records: the source, for the hub with the commit."""
    folder = Path(source).expanduser()
    if folder.exists():
        if revision is not None:
            raise InputError(f"revision is {revision!r}, but {source} is a folder, which has none. Leave it out, or give a hub id.")
        return folder, source
    from diffusers import DiffusionPipeline

    name, _, pinned = source.partition("@")
    revision = revision or pinned or None
    try:
        parts_of(DiffusionPipeline.load_config(name, revision=revision), source)
        downloaded = Path(DiffusionPipeline.download(name, revision=revision))
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(
            f"{source!r} is not a folder, and it could not be loaded as a hub id. Check the spelling, the network, and for a gated model "
            f"`hf auth login`; or download it elsewhere and give its folder: {type(error).__name__}: {error}"
        ) from error
    return downloaded, f"{name}@{downloaded.name}"


def _network(folder: Path, part: str, cls: Any, dtype: torch.dtype) -> torch.nn.Module:
    """A network. Raises `LoadError`, which names the keys, if weights are missing or if there are weights of another model."""
    _check_numbers(folder / part)
    kind = _in_dtype(dtype) if cls.__module__.startswith("diffusers") else {"dtype": dtype}
    network, info = cls.from_pretrained(folder / part, variant=_variant(folder), output_loading_info=True, **kind)
    missing = sorted(info["missing_keys"])
    unexpected = sorted(key for key in info["unexpected_keys"] if not key.endswith(_DERIVED))
    for keys, what in ((missing, "lack"), (unexpected, "have, but the model does not,")):
        if keys:
            raise LoadError(
                f"The weights of {part} in {folder} {what} {_some(keys)}. They are not those of this {cls.__name__}, so its "
                "images would be random. Copy the folder again, or load the pipeline yourself and give the object."
            )
    return cast(torch.nn.Module, network)


def _check_numbers(part: Path) -> None:
    """Raises `LoadError` for weights that are whole numbers without a quantiser in the configuration: cast to floats they are noise."""
    quantised = any("quantization_config" in file.read_text(encoding="utf-8") for file in part.glob("config.json"))
    for file in () if quantised else sorted(part.glob("*.safetensors")):
        with suppress(SafetensorError), safe_open(file, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118
                kind = weights.get_slice(key).get_dtype()
                if key.endswith("weight") and kind[0] in "IU":
                    raise LoadError(
                        f"{file}: {key} holds {kind} numbers, but weights are floats. The file is quantised or damaged. Copy the folder "
                        "again, or load the pipeline yourself and give the object."
                    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides diffusers' log messages about parts of another class than in its annotations, such as AutoencoderTiny."""
    logger = logging.getLogger("diffusers.pipelines.pipeline_utils")

    def is_shown(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Expected types for")

    logger.addFilter(is_shown)
    try:
        yield
    finally:
        logger.removeFilter(is_shown)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _check_words(pipeline: Any, folder: Path) -> None:
    """Raises `LoadError` for a tokenizer whose vocabulary has no word, or that reads none, with which all prompts would be equal; and for
    one of CLIP that reads more tokens than its encoder."""
    for name, part in pipeline.components.items():
        if not name.startswith("tokenizer") or not hasattr(part, "get_vocab"):
            continue
        if set(part.get_vocab()) <= set(part.all_special_tokens):
            raise LoadError(f"The {name} in {folder} has no words: its vocabulary is empty or damaged. Copy the folder again.")
        config = getattr(getattr(pipeline, name.replace("tokenizer", "text_encoder"), None), "config", None)
        most = getattr(config, "max_position_embeddings", None) if type(part).__name__.startswith("CLIP") else None
        if part.model_max_length <= 2 or (most is not None and part.model_max_length > most):
            raise LoadError(
                f"The {name} in {folder} reads {part.model_max_length:,} tokens, which does not fit its text encoder. Its "
                "tokenizer_config.json is missing or damaged. Copy the folder again."
            )


def _place(device: torch.device | str) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # no such name, no such number, or a torch without it
        raise InputError(f"{str(device)!r} is not a device that torch can use here: {error}. Give cpu, cuda, cuda:1 or another.") from error


def _variant(folder: Path) -> str | None:
    """The variant of a folder's weights; None if there are also weights without a variant, or several variants."""
    matches = [_WEIGHTS.fullmatch(file.name) for file in folder.glob("*/*")]
    variants = {match["variant"] or match["last"] for match in matches if match}
    return variants.pop() if len(variants) == 1 else None


def _in_dtype(dtype: torch.dtype) -> dict[str, Any]:
    """The argument that sets one dtype for all networks: by default diffusers uses float32, and transformers 5 the checkpoint's dtype."""
    return {"dtype" if installed() >= (0, 40) else "torch_dtype": dtype}
