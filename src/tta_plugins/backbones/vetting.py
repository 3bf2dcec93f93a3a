"""Checks a pipeline's folder before anything in it is imported: only classes of diffusers and transformers are allowed, and no code."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tta_core.errors import LoadError
from tta_plugins.backbones.versions import remedy

Parts = Mapping[str, type]
_LIBRARIES = ("diffusers", "transformers")
_UNUSED = ("safety_checker", "feature_extractor")


def parts_of(index: Mapping[str, Any], source: str) -> Parts:
    """The classes of a pipeline's parts, by name, from its model_index.json.

    Raises:
        LoadError: it names a class of another library, or one that the installed libraries do not have.
    """
    import diffusers

    named = index.get("_class_name")
    if not isinstance(named, str) or not named.isidentifier():
        raise LoadError(f"{source} names {named!r} as its pipeline's class, which is not a class of diffusers. {_TRUST}")
    pipeline = getattr(diffusers, named, None)
    if not (isinstance(pipeline, type) and issubclass(pipeline, diffusers.DiffusionPipeline)):
        raise LoadError(f"{source} is a {named}, but diffusers {diffusers.__version__} has no such pipeline. {remedy(named)}")
    listed = {name: value for name, value in index.items() if not name.startswith("_") and isinstance(value, list)}
    return {name: _class(source, name, *value) for name, value in listed.items() if value not in ([None, None], []) and name not in _UNUSED}


def check_files(folder: Path, parts: Parts) -> None:
    """Raises `LoadError` for a part without its folder, a tokenizer without its vocabulary, or code in a part's configuration."""
    from diffusers import ConfigMixin

    for name, cls in parts.items():
        part = folder / name
        if not part.is_dir():
            raise LoadError(f"{folder} has no folder {name!r}, although its model_index.json names a {cls.__name__} there. Copy it again.")
        for config in (*part.glob("config.json"), *part.glob("tokenizer_config.json"), *part.glob("scheduler_config.json")):
            settings = json_object(config)
            if "auto_map" in settings:
                raise LoadError(f"{config} refers to its own code (auto_map). {_TRUST}")
            if issubclass(cls, ConfigMixin) and config.name != "tokenizer_config.json" and "_class_name" not in settings:
                raise LoadError(f"{config} is incomplete: it does not name its class. Copy the folder again.")
        files: Mapping[str, str] = getattr(cls, "vocab_files_names", {}) or {}
        whole = files.get("tokenizer_file", "tokenizer.json")
        missing = [file for kind, file in files.items() if kind != "tokenizer_file" and not (part / file).is_file()]
        if files and missing and not (part / whole).is_file():
            raise LoadError(
                f"The {name} in {folder} has no vocabulary: neither {whole} nor {' and '.join(missing)}. All prompts would be equal. "
                "Copy the folder again."
            )


def index_of(folder: Path) -> Mapping[str, Any]:
    """A folder's model_index.json. Raises `LoadError` if there is none, or if it is not a JSON object."""
    if not (folder / "model_index.json").is_file():
        raise LoadError(
            f"{folder} is not a diffusers pipeline: it has no model_index.json. Give the folder that `pipeline.save_pretrained` wrote."
        )
    return json_object(folder / "model_index.json")


def json_object(path: Path) -> Mapping[str, Any]:
    """The settings in a file. Raises `LoadError` if it cannot be read, or is not a JSON object."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise LoadError(f"{path} is damaged: {error}. Copy the folder again.") from error
    if not isinstance(read, dict):
        raise LoadError(f"{path} holds a {type(read).__name__}, not settings by name. Copy the folder again.")
    return read


def _class(source: str, name: str, library: object = None, cls: object = None, *more: object) -> type:
    if more or not isinstance(library, str) or not isinstance(cls, str) or not cls.isidentifier() or not name.isidentifier():
        raise LoadError(f"{source} names {[library, cls, *more]} as its {name}, which is not a class of a library. {_TRUST}")
    found = getattr(_library(library), cls, None)
    if not isinstance(found, type):
        raise LoadError(
            f"{source} names {library}.{cls} as its {name}. The installed diffusers and transformers have no such class: it is code "
            f"of another library, or of a newer version. {_TRUST}"
        )
    return found


def _library(name: str) -> Any:
    import diffusers
    import transformers

    if name in _LIBRARIES:
        return {"diffusers": diffusers, "transformers": transformers}[name]
    module = getattr(diffusers.pipelines, name, None)  # such as kolors, whose text encoder is part of diffusers
    return module if inspect.ismodule(module) and module.__name__.startswith("diffusers.pipelines.") else None


_TRUST = "Load it yourself with diffusers if you trust it, and give the loaded pipeline."
