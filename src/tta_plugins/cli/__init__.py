"""The command line `tta`: one file for each command, everything else reached through the registry.

Nothing here imports torch or a model library before a command needs it: `tta --help` and `tta list` answer at once.
"""


def main() -> None:
    """What the installed command `tta` calls."""
    from tta_plugins.cli.app import app

    app(prog_name="tta")
