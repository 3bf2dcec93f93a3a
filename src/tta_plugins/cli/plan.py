"""`tta plan`: predicts the cost of a run without loading anything."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tta_plugins.cli import options
from tta_plugins.cli.output import say, say_json

if TYPE_CHECKING:
    from tta_core.plugins.registry import Entry


def plan(
    method: options.Method = "date",
    reward: options.Reward = "clip",
    backbone: Annotated[
        str,
        typer.Option(
            help="sd15, sdxl, sd3, flux, flux2, flux2-klein, pixart, qwen-image, z-image, sana, lumina2, chroma, auraflow, kolors, "
            "hunyuan-dit, shapes, or a folder."
        ),
    ] = "sd15",
    memory: Annotated[list[str] | None, typer.Option(help="A memory policy, auto, or a size such as 16GB; repeat it for several.")] = None,
    scheduler: options.Scheduler = "native",
    steps: options.Whole = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.", show_default="the backbone's")] = None,
    height: options.Whole = None,
    width: options.Whole = None,
    prompts: Annotated[int, typer.Option(help="The number of prompts sampled at once.")] = 1,
    dtype: Annotated[Literal["float32", "float16", "bfloat16"], typer.Option(help="Of networks that are not loaded.")] = "bfloat16",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE.FIELD=VALUE", help="A setting of the method or of a policy, such as method.inner_max=55."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document: rows, FLOPs, bytes.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor save forecasts on disk.")] = False,
) -> None:
    """Predict the cost of a run: evaluations, FLOPs and peak memory, and what dominates them. Nothing is loaded or downloaded.

    The method runs on placeholder networks that cost nothing. FLOPs and memory are measured on the real networks with tensors that have
    no data. Forecasts are cached on disk (TTA_CACHE, by default ~/.cache/tta).
    """
    from tta_plugins.cost.collection import collection_paused
    from tta_plugins.planning import forecast_cache

    arguments: dict[str, Any] = {
        "backbone": backbone,
        "method": method,
        "reward": reward,
        "memory": memory or [],
        "scheduler": scheduler,
        "steps": steps,
        "guidance": guidance,
        "height": height,
        "width": width,
        "prompts": prompts,
        "dtype": dtype,
        "settings": settings or [],
    }
    key = None if no_cache else forecast_cache.key(arguments, *_determining(arguments))
    record = None if key is None else forecast_cache.load(key)
    if record is None:
        with collection_paused():
            record = _made(arguments, quiet=as_json)
        if key is not None:
            forecast_cache.save(key, record)
    elif not as_json:
        _say_rows(record["rows"])
    if as_json:
        say_json(record)
        return
    _report(record)
    say(f"Networks that are not loaded count as {dtype}; by default `tta align` loads bfloat16 on CUDA and float32 elsewhere.")


def _determining(arguments: Mapping[str, Any]) -> "tuple[list[Path], list[Entry]]":
    """The files that a forecast depends on, and the registered parts that the arguments name."""
    from tta_core.plugins.discovery import plugins

    named = {str(arguments[part]).partition(":")[0] for part in ("backbone", "method", "reward", "scheduler")} | {*arguments["memory"]}
    files = [file for name in named for file in _files(Path(name))]
    registry = plugins().registry
    kinds = ("backbones", "methods", "rewards", "schedulers", "memory")
    return files, [entry for kind in kinds for entry in registry.entries(kind) if entry.name in named]


def _files(path: Path) -> list[Path]:
    """A part's file, or the configurations in a pipeline's folder."""
    if os.path.isdir(path):
        return [*path.glob("*.json"), *path.glob("*/*.json")]
    return [path] if os.path.isfile(path) else []


def _made(arguments: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    """Compute the forecast. Unless `quiet`, evaluations are printed before FLOPs and memory are known."""
    from tta_core.plugins.discovery import plugins
    from tta_plugins.cli.parts import parts
    from tta_plugins.cli.suggestions import one_of
    from tta_plugins.planning.pipeline_configuration import configuration_names
    from tta_plugins.planning.plan import DTYPES, planned

    named = {name: arguments[name] for name in ("backbone", "method", "reward", "memory", "settings")}
    if not os.path.isdir(named["backbone"]):
        whole = [entry.name for entry in plugins().registry.entries("backbones") if not entry.pipelines and entry.name != "diffusers"]
        one_of(named["backbone"], [*configuration_names(), *whole], "configuration or small backbone")
    made = parts(**named, settable=["method"])
    others = {name: value for name, value in arguments.items() if name not in named and name != "dtype"}
    planning = planned(
        backbone=named["backbone"],
        method=made.method,
        reward=made.reward,
        memory=made.memory,
        dtype=DTYPES[arguments["dtype"]],
        counted=None if quiet else _say_rows,
        **others,
    )
    return {**planning.forecast.record(), "policies": list(planning.memory)}


def _say_rows(rows: Mapping[str, int]) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in sorted(rows.items()))
    say(f"Rows through each network: {counts}.")
    sys.stdout.flush()


def _report(record: Mapping[str, Any]) -> None:
    from tta_plugins.cli.tables import print_table

    prices = record["flops_per_row"]
    rows = [
        [name, str(count), _giga(prices.get(name, 0.0)), _tera(count * prices.get(name, 0.0))]
        for name, count in sorted(record["rows"].items())
    ]
    rows.append(["total", "", "", _tera(record["flops"]["total"])])
    print_table(["pass", "rows", "GFLOP per row", "TFLOP"], rows, numbers=3)
    memory = {name: f"{size / 2**20:,.0f}" for name, size in record["memory_bytes"].items()}
    print_table(["memory", "MiB"], [["at most" if name == "total" else name, size] for name, size in memory.items()], numbers=1)
    say(f"{record['evaluations']} evaluations of the denoiser; {record['dominates']}.")
    say("Allocators, workspaces of libraries and a CUDA context need more memory: about 0.5 GB plus a tenth.")
    for line in record["policies"]:
        say(line)


def _giga(flops: float) -> str:
    return f"{flops / 1e9:,.1f}"


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.1f}"
