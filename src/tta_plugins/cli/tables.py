"""Prints tables for people. Scripts use --json or run.json."""

from collections.abc import Sequence

from tta_plugins.cli.output import printable

FILE_WIDTH = 160


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> None:
    """Print rows under headings. The last `numbers` columns are aligned right. Long texts are wrapped, never cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        is_number = place >= len(headings) - numbers
        table.add_column(Text(printable(heading, kept="")), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell, kept="")) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table)
