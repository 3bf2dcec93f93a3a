"""The command `tta studio`. It imports what it uses when it runs, so that `tta --help` stays fast."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tta_core.errors import LoadError

app = typer.Typer(add_completion=False, rich_markup_mode=None)
NEEDED = ("gradio", "fastapi", "uvicorn")


@app.command()
def studio(
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 admits other machines.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, show_default="7860, or the next free one")] = None,
    out: Annotated[Path, typer.Option(help="The folder in which each run gets its own folder.")] = Path("tta-studio"),
) -> None:
    """Serve a web page that aligns prompts, shows runs live and saves every result. Ctrl-C ends it and saves the best so far."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise LoadError(f"tta studio needs {', '.join(missing)}. Install it with `pip install 'tta-align[studio]'`.")
    from tta_plugins.studio.serve import serve

    serve(out, host, port)
