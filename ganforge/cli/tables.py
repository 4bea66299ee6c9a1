"""Tables for people: rich on a terminal, aligned plain lines that no width cuts elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

Row = Sequence[str]
Titled = tuple[str, Sequence[Row]]


def print_tables(tables: Sequence[Titled], *, aligned: bool = False) -> None:
    """Titled tables; the first column names what they list.

    aligned: the columns of all tables stand below each other.
    """
    tables = [(title, rows) for title, rows in tables if rows]
    every = [row for _, rows in tables for row in rows]
    rich = sys.stdout.isatty()
    for number, (title, rows) in enumerate(tables):
        if title:
            click.echo(("\n" if number else "") + click.style(title, bold=True))
        widths = _widths(every if aligned else rows)
        if rich:
            _print_rich(rows, widths)
        else:
            _print_plain(rows, widths)


def _print_plain(rows: Sequence[Row], widths: Sequence[int]) -> None:
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo(("  " + "  ".join(cells)).rstrip())


def _print_rich(rows: Sequence[Row], widths: Sequence[int]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number, width in enumerate(widths):
        # Names are never cut; a column as wide as others' keeps its place under theirs.
        style = "cyan" if number == 0 else ""
        table.add_column(style=style, no_wrap=number == 0, min_width=min(width, 24))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(Padding(table, (0, 0, 0, 2)))


def _widths(rows: Sequence[Row]) -> list[int]:
    columns = max((len(row) for row in rows), default=0)
    return [max((len(row[c]) for row in rows if c < len(row)), default=0) for c in range(columns)]
