"""Serves the page, by default to this machine only. The page loads nothing from other servers and sends nothing to them."""

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tta_core.errors import InputError
from tta_plugins.cli.interruption import interruptible
from tta_plugins.cli.output import say

FIRST_PORT, PORTS = 7860, 100
POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False", "GRADIO_MCP_SERVER": "False"}
STYLE = Path(__file__).with_name("style.css")


def serve(folder: Path, host: str, port: int | None) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Running runs are then stopped, and their best so far is saved."""
    with TemporaryDirectory(prefix="tta-studio-") as temporary:
        os.environ |= {**QUIET, "GRADIO_TEMP_DIR": temporary}
        import uvicorn

        from tta_plugins.studio.studio import Studio

        listening = listen(host, port)
        studio = Studio(folder)
        server = uvicorn.Server(uvicorn.Config(application(studio), log_level="warning", timeout_graceful_shutdown=1))
        say(f"The page is at {_address(listening)}, and runs are saved in {studio.folder}. Ctrl-C ends it.")
        if not _is_loopback(listening):
            say("tta: anyone who reaches this address can run models, load folders of this machine and see all runs.", err=True)
        try:
            with interruptible():
                server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            studio.close()


def application(studio: Any) -> Any:
    """The page as an ASGI application, and each run of its folder as a zip file."""
    import gradio as gr
    from fastapi import FastAPI, HTTPException, Response

    from tta_plugins.studio.history import read
    from tta_plugins.studio.page import page

    theme = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    theme.set(body_text_color_subdued="*neutral_500", block_info_text_color="*neutral_500")
    made = FastAPI(openapi_url=None)

    @made.get("/runs/{name}.zip")
    def download(name: str) -> Response:
        past = next((read(folder) for folder in studio.folder.iterdir() if folder.name == name), None)
        if past is None:
            raise HTTPException(404, "The folder of that run was removed or cannot be read.")
        return Response(past.zipped(), media_type="application/zip")

    gr.mount_gradio_app(made, page(studio), path="/", theme=theme, css=STYLE.read_text("utf-8"), footer_links=[])
    return _Confined(made)


class _Confined:
    """Adds a Content-Security-Policy, so that the browser loads nothing from other servers."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def confined(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY)]
            await send(message)

        await self._inner(scope, receive, confined)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on the host and port; without a port, on the first free one. Raises `InputError` if it cannot."""
    tried = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,)
    failure = None
    for number in tried:
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family)
        except OSError as error:
            failure = error
    raise InputError(f"Cannot listen on {host}, port {tried[0]}: {failure}. Give another --host or --port.") from failure


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(listening: socket.socket) -> bool:
    host = listening.getsockname()[0]
    return host == "::1" or host.startswith("127.")
