"""The command line `tta`: one file for each command, everything else reached through the registry.

Nothing here imports torch or a model library before a command needs it: `tta --help` and `tta list` answer at once.
"""

import os
import sys
import warnings


def main() -> None:
    """What the installed command `tta` calls."""
    from tta_plugins.cli.streams import protect

    protect()
    _prepare_environment()
    from tta_plugins.cli.app import app
    from tta_plugins.cli.output import say

    warnings.showwarning = lambda message, *_: say(f"tta: {message}", err=True)
    app(prog_name="tta")


def _prepare_environment() -> None:
    """Variables that libraries read when they are imported; one that is already set stays.

    Model libraries report errors only, and show no loading bars where nobody watches. torch's threads sleep while they wait for each
    other: on a busy machine, spinning costs several times the work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
