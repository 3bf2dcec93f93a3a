"""Figures as SVG in a page: text stays text, and black parts take the page's text colour."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tta_core.errors import LoadError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f")
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 11,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "tta",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


class Drawn:
    """Has the SVG once the figure is closed."""

    svg = ""


@contextmanager
def figure(title: str, height: float = 3.6) -> Iterator[tuple["Axes", Drawn]]:
    """Axes to draw on, and the object that gets the SVG. A screen reader reads `title`.

    Raises:
        LoadError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LoadError(f"A page's figures need matplotlib: {error}. Install it with `pip install 'tta-align[bench]'`.") from error
    drawn = Drawn()
    with matplotlib.rc_context(_STYLE):
        sheet: Any = Figure(figsize=(6.4, height), layout="constrained")
        yield sheet.subplots(), drawn
        buffer = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the browser's fonts draw the text
            sheet.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    drawn.svg = _inlined(buffer.getvalue(), title)


def _inlined(svg: str, title: str) -> str:
    """The SVG without its XML head and fixed size, with identifiers that are unique on the page."""
    body = svg[svg.index("<svg") :].replace(INK, "currentColor")
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    mark = re.sub(r"[^a-z0-9]+", "-", title.lower())
    body = re.sub(r'\bid="', f'id="{mark}-', body)
    body = body.replace('href="#', f'href="#{mark}-').replace("url(#", f"url(#{mark}-")
    return re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", body, count=1), count=1)
