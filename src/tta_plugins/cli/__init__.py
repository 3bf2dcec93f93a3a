"""The command line `tta`, with one file for each command. Everything else is reached through the registry.

Nothing here imports torch or a model library before a command needs it, so that `tta --help` and `tta list` are fast.
"""

import os
import sys
import warnings


def main() -> None:
    """Run the command `tta`."""
    from tta_plugins.cli.streams import protect

    protect()
    _prepare_environment()
    from tta_plugins.cli.app import app
    from tta_plugins.cli.output import say

    warnings.showwarning = lambda message, *_: say(f"tta: {message}", err=True)
    app(prog_name="tta")


def _prepare_environment() -> None:
    """Set environment variables that libraries read when they are imported, unless they are set already.

    Model libraries then report only errors, and show loading bars only on a terminal. torch's threads sleep while they wait for each
    other: on a busy machine, spinning costs several times the time of the work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
