"""The HTML page that shows a run; a plugin makes it."""

from tta_core.errors import LoadError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.plugins.isolation import isolated
from tta_core.values.arguments import error_text, shown


def page_of(alignment: object) -> str:
    """The HTML of the first plugin that returns one. Raises `LoadError` if no plugin does, or if the plugin fails."""
    with isolated(lambda error: error if isinstance(error, TTAError) else LoadError(f"A plugin's page failed: {error_text(error)}.")):
        page = plugins().hooks.hook.tta_page(alignment=alignment)
    if page is None:
        raise LoadError("No plugin makes pages, so there is no report. `tta doctor` shows whether one is broken or blocked.")
    if not isinstance(page, str):
        raise LoadError(f"A plugin's page is {shown(page)}, but it must be a text. `tta doctor` lists the plugins.")
    return page
