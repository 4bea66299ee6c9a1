"""Figures of many runs as a table: each group's mean over seeds, beside a baseline's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import click

from ganforge.cli.tables import Row, print_tables
from ganforge.interfaces.errors import GanforgeError
from ganforge.lab.report import comparison, contents
from ganforge.lab.report.comparison import Block, Group, Summary
from ganforge.runs.measurement import figure_text
from ganforge.storage.run_folder import RunFolder

_HEADER = ("", "mean", "deviation", "n")
_FAMILY = "/"  # in the name of a figure that is one of many, such as share/3


def print_results(
    folder: Path,
    runs: Sequence[RunFolder],
    baseline: str | None = None,
    patterns: Sequence[str] = (),
) -> None:
    """Print a table for each figure that was measured last; patterns: of METRIC/FIGURE, where
    there are none, all but those that are one of many.

    Raises GanforgeError for a baseline that is none of the groups, and a pattern of no figure.
    """
    entries = [contents.read(run, run.path.relative_to(folder).as_posix()) for run in runs]
    groups = comparison.grouped(entries)
    base = None if baseline is None else _baseline(groups, baseline, folder)
    blocks = [b for b in comparison.compared(groups, base) if b.moment == "last"]
    names = _short([group.name for group in groups])
    tables = [t for b in blocks for t in _tables(b, blocks, names, base, patterns)]
    print_tables(tables, aligned=True)
    there = [f"{b.metric}/{row.figure}" for b in blocks for row in b.rows]
    if patterns and not tables:
        raise GanforgeError(
            f"--value {patterns[0]}: no figure is named so; there are: "
            f"{', '.join(dict.fromkeys(there)) or 'none'}"
        )
    left = len(dict.fromkeys(there)) - len(dict.fromkeys(title for title, _ in tables))
    if left > 0 and not patterns:
        click.echo(f"\nand {left} more figures, which `--value PATTERN` shows")
    if base is not None and tables:
        click.echo(f"\ndifferences are to {names[base.name]}, run by run of the same seed")


def _baseline(groups: Sequence[Group], name: str, folder: Path) -> Group:
    """A group by its name, by the end of it, or by its folder."""
    plain = name.replace("\\", "/").rstrip("/")
    below = plain.removeprefix(f"{folder.as_posix()}/")
    found = [group for group in groups if group.name in (plain, below)]
    found = found or [group for group in groups if group.name.endswith(f"/{plain}")]
    if len(found) == 1:
        return found[0]
    there = ", ".join(group.name for group in found or groups)
    what = "could be any of" if found else "is none of"
    raise GanforgeError(f"--baseline {name} {what}: {there}")


def _short(names: Sequence[str]) -> Mapping[str, str]:
    """Names without the folder that all of them lie in."""
    common = os.path.commonpath(names).replace("\\", "/") if len(names) > 1 else ""
    return {name: name.removeprefix(f"{common}/") if common else name for name in names}


def _tables(
    block: Block,
    blocks: Sequence[Block],
    names: Mapping[str, str],
    base: Group | None,
    patterns: Sequence[str],
) -> Iterator[tuple[str, list[Row]]]:
    """(title, rows) of each figure. Where a metric has several protocols, the title has its own."""
    several = block.metric in comparison.several_protocols(blocks)
    for row in block.rows:
        title = f"{block.metric}/{row.figure}"
        if patterns and not any(fnmatchcase(title, pattern) for pattern in patterns):
            continue
        if not patterns and _FAMILY in row.figure:
            continue
        rows: list[Row] = [_HEADER if base is None else (*_HEADER, "difference", "95 %", "pairs")]
        for group, own in row.summaries.items():
            other = row.against.get(group)
            cells = (names[group], *_cells(own))
            rows.append(cells if other is None else (*cells, *_difference(other)))
        yield f"{title}  ({block.protocol})" if several else title, rows


def _cells(own: Summary) -> tuple[str, str, str]:
    deviation = "" if own.deviation is None else figure_text(own.deviation)
    return figure_text(own.mean), deviation, str(own.count)


def _difference(other: Summary) -> tuple[str, str, str]:
    """The mean difference, its confidence interval, and the number of pairs."""
    ends = other.interval
    between = "" if ends is None else f"{_signed(ends[0])} to {_signed(ends[1])}"
    return _signed(other.mean), between, str(other.count)


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{figure_text(value)}"
