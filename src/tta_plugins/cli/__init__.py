"""The command line `tta`: one file for each command, everything else reached through the registry.

Nothing here imports torch or a model library before a command needs it: `tta --help` and `tta list` answer at once.
"""

import os
import sys


def main() -> None:
    """What the installed command `tta` calls."""
    from tta_plugins.cli.app import app

    _quieten()
    app(prog_name="tta")


def _quieten() -> None:
    """Model libraries report errors only, and no loading bars where nobody watches; variables that are already set stay."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
