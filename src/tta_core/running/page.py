"""The page that shows a run, made by a plugin."""

from tta_core.errors import LoadError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.isolation import isolated
from tta_core.values.arguments import shown, told


def page_of(alignment: object) -> str:
    """The HTML of the first plugin that gives one. Raises `LoadError` where none does, or where it fails."""
    with isolated(lambda error: error if isinstance(error, TTAError) else LoadError(f"A plugin's page failed: {told(error)}.")):
        page = plugins().hooks.hook.tta_page(alignment=alignment)
    if page is None:
        raise LoadError("No plugin makes pages, so there is no report. `tta doctor` says whether one is broken or blocked.")
    if not isinstance(page, str):
        raise LoadError(f"A plugin's page is {shown(page)}, and no text. `tta doctor` lists the plugins.")
    return page
