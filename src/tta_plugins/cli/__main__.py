"""`python -m tta_plugins.cli` is `tta`."""

from tta_plugins.cli import main

main()
