"""Runs `tta` as `python -m tta_plugins.cli`."""

from tta_plugins.cli import main

main()
