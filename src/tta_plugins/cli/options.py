"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_FOLDER = Path("tta-out")
_LOADED = "For a folder or hub id"

Method = Annotated[str, typer.Option(help="A name from `tta list methods`.")]
Reward = Annotated[str, typer.Option(help="A name from `tta list rewards`.")]
Scheduler = Annotated[str, typer.Option(help="A name from `tta list schedulers`.")]
Backbone = Annotated[str, typer.Option(help="A name, or a folder or hub id in diffusers' layout.")]
Device = Annotated[str | None, typer.Option(help=f"{_LOADED}: cpu, cuda, cuda:1.", show_default="cuda if available")]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option(help=f"{_LOADED}.", show_default="bfloat16 on cuda, else float32"),
]
Memory = Annotated[list[str] | None, typer.Option(help="A memory policy; repeat it to apply several, in order.")]
Whole = Annotated[int | None, typer.Option(show_default="the backbone's")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; up to 1 is none.", show_default="the backbone's")]
Negative = Annotated[str | None, typer.Option(help="A negative prompt.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="The folder to write to. It must not hold another run's results.",
        show_default="tta-out, or tta-out-2 ... if that has a run",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of another run in the folder.")]
BudgetSeconds = Annotated[float | None, typer.Option(help="Stop after this many seconds, with the best so far.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PLACE.FIELD=VALUE", help="A setting of a part, such as method.rho=0.7."),
]
