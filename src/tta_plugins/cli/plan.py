"""`tta plan`: what a run would cost, before anything is loaded."""

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tta_plugins.cli.output import say

if TYPE_CHECKING:
    from tta_plugins.cost.forecast import Forecast

Whole = Annotated[int | None, typer.Option(show_default="the backbone's")]


def plan(
    method: Annotated[str, typer.Option(help="A name from `tta list methods`.")] = "date",
    reward: Annotated[str, typer.Option(help="A name from `tta list rewards`.")] = "clip",
    backbone: Annotated[
        str,
        typer.Option(
            help="sd15, sdxl, sd3, flux, flux2, flux2-klein, pixart, qwen-image, z-image, sana, lumina2, chroma, shapes, or a folder."
        ),
    ] = "sd15",
    memory: Annotated[list[str] | None, typer.Option(help="A memory policy, auto, or a size such as 16GB; repeat it for several.")] = None,
    scheduler: Annotated[str, typer.Option(help="A name from `tta list schedulers`.")] = "native",
    steps: Whole = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none.", show_default="the backbone's")] = None,
    height: Whole = None,
    width: Whole = None,
    prompts: Annotated[int, typer.Option(help="How many are drawn at once.")] = 1,
    dtype: Annotated[Literal["float32", "float16", "bfloat16"], typer.Option(help="Of networks that are not loaded.")] = "bfloat16",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE.FIELD=VALUE", help="A setting of the method or of a policy, as in method.inner_max=55."),
    ] = None,
) -> None:
    """Predict what a run costs: evaluations, FLOPs and peak memory, and what dominates them. Nothing is loaded or downloaded.

    The method really runs, on networks that cost nothing; FLOPs and memory are those of the real networks on tensors without data.
    """
    from tta_core.plugins.discovery import plugins
    from tta_plugins.cli.parts import parts
    from tta_plugins.cli.suggestions import one_of
    from tta_plugins.cost.pipeline_configuration import configuration_names
    from tta_plugins.cost.plan import DTYPES, planned

    if not os.path.isdir(backbone):
        whole = [entry.name for entry in plugins().registry.entries("backbones") if not entry.pipelines and entry.name != "diffusers"]
        one_of(backbone, [*configuration_names(), *whole], "configuration or small backbone")
    made = parts(backbone, method, reward, memory or [], settings or [], settable=["method"])
    foreseen = planned(
        backbone=backbone,
        method=made.method,
        reward=made.reward,
        memory=made.memory,
        scheduler=scheduler,
        steps=steps,
        guidance=guidance,
        height=height,
        width=width,
        prompts=prompts,
        dtype=DTYPES[dtype],
    )
    _report(foreseen.forecast)
    for line in foreseen.memory:
        say(line)
    say(f"Networks that are not loaded count as {dtype}; `tta align` loads bfloat16 on CUDA and float32 elsewhere, unless told.")


def _report(forecast: "Forecast") -> None:
    from tta_plugins.cli.tables import print_table
    from tta_plugins.cost.forecast import COMPONENTS

    rows = [
        [name, COMPONENTS[name.removesuffix(".backward")], str(count), _giga(price), _tera(count * price)]
        for name, count in sorted(forecast.rows.items())
        for price in (forecast.prices.get(name, 0.0),)
    ]
    rows.append(["total", "", "", "", _tera(forecast.total_flops)])
    print_table(["pass", "network", "rows", "GFLOP a row", "TFLOP"], rows, numbers=3)
    phases = [[name, f"{size / 2**20:,.0f}"] for name, size in forecast.peaks.phases.items()]
    print_table(
        ["memory", "MiB"],
        [["parameters", f"{forecast.peaks.parameters / 2**20:,.0f}"], *phases, ["at most", f"{forecast.peaks.total / 2**20:,.0f}"]],
        numbers=1,
    )
    say(f"{forecast.evaluations} evaluations of the denoiser; {forecast.dominates}.")
    say("Allocators, libraries' workspaces and a CUDA context come on top of the memory: some 0.5 GB and a tenth.")


def _giga(flops: float) -> str:
    return f"{flops / 1e9:,.1f}"


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.1f}"
