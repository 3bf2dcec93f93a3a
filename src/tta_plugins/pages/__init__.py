"""HTML pages for light and dark mode, phone and desktop. Each is one file that loads nothing from the network."""

from typing import TYPE_CHECKING

from tta_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from tta_core.running.alignment import Alignment


@hookimpl
def tta_page(alignment: "Alignment") -> str:
    """The page of a single run."""
    from tta_plugins.pages.run_page import run_page

    return run_page(alignment)
