"""Figures of many runs as a table: each group's mean over seeds, beside a baseline's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ganforge.commands.tables import Row, print_tables
from ganforge.errors import GanforgeError
from ganforge.lab.report import comparison, contents
from ganforge.lab.report.comparison import Block, Group, Summary
from ganforge.measuring import figure_text
from ganforge.runfolder import RunFolder

_HEADER = ("", "mean", "deviation", "n")


def print_standing(folder: Path, runs: Sequence[RunFolder], baseline: str | None) -> bool:
    """Print a table for each figure that was measured; False where there is none.

    Raises GanforgeError for a baseline that is none of the groups.
    """
    entries = [contents.read(run, run.path.relative_to(folder).as_posix()) for run in runs]
    groups = comparison.grouped(entries)
    base = None if baseline is None else _baseline(groups, baseline, folder)
    blocks = [b for b in comparison.compared(groups, base) if b.moment == "last"]
    several = comparison.several_protocols(blocks)
    tables = [table for block in blocks for table in _tables(block, groups, base, several)]
    print_tables(tables, aligned=True)
    return bool(tables)


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


def _tables(
    block: Block, groups: Sequence[Group], base: Group | None, several: dict[str, int]
) -> Iterator[tuple[str, list[Row]]]:
    protocol = f"  ({block.protocol})" if block.metric in several else ""
    for row in block.rows:
        title = f"{block.metric}/{row.figure}{protocol}"
        rows: list[Row] = [_HEADER + (() if base is None else (f"against {base.name}", "95 %"))]
        for group in groups:
            if group.name not in row.summaries:
                continue
            cells = (group.name, *_cells(row.summaries[group.name]))
            other = row.against.get(group.name)
            rows.append(cells if other is None else (*cells, *_difference(other)))
        if len(rows) > 1:
            yield title, rows


def _cells(own: Summary) -> tuple[str, str, str]:
    deviation = "" if own.deviation is None else figure_text(own.deviation)
    return figure_text(own.mean), deviation, str(own.count)


def _difference(other: Summary) -> tuple[str, str]:
    """The mean difference, and where its true value lies, of so many pairs."""
    mean = f"{'+' if other.mean > 0 else ''}{figure_text(other.mean)}"
    interval = other.interval
    if interval is None:
        return mean, f"one pair of {'a seed' if other.count == 1 else 'seeds'}"
    low, high = (f"{'+' if end > 0 else ''}{figure_text(end)}" for end in interval)
    return mean, f"{low} to {high}, {other.count} pairs"
