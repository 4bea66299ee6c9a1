"""What datasets return, held against their interface: PluginError in one line with its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ganforge.interfaces.components import Dataset
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.source_lines import source_line


def count_of(dataset: Dataset, split: str, domain: str) -> int:
    """How many rows there are."""
    count: Any = dataset.count(split, domain)
    if type(count) is not int or count < 0:
        raise wrong(dataset, "count", f"{count!r} for {split}/{domain}, not a number of rows")
    return count


def rows_of(dataset: Dataset, split: str, domain: str, count: int) -> Tensor | None:
    """All rows at once, where the dataset has them so."""
    rows: Any = dataset.rows(split, domain)
    if rows is None:
        return None
    if not isinstance(rows, Tensor) or not rows.dim():
        raise wrong(dataset, "rows", f"{type(rows).__name__} for '{domain}', no tensor [N, ...]")
    if len(rows) != count:
        raise wrong(dataset, "rows", f"{len(rows):,} rows of '{domain}', and counts {count:,}")
    return rows


def sources_of(
    dataset: Dataset, split: str, domain: str, count: int
) -> Sequence[tuple[str, str]] | None:
    """(name, path) of the file of each row, where rows are made of files."""
    sources: Any = dataset.sources(split, domain)
    if sources is None:
        return None
    rows = sources if isinstance(sources, Sequence) else ()
    pairs = (row for row in rows if isinstance(row, (tuple, list)) and len(row) == 2)
    if len(rows) != count or sum(all(isinstance(t, str) for t in pair) for pair in pairs) != count:
        what = f"for '{domain}' what is no (name, path) for each of {count:,} rows"
        raise wrong(dataset, "sources", what)
    found: Sequence[tuple[str, str]] = sources
    return found


def wrong(dataset: Dataset, method: str, what: str) -> PluginError:
    """The error to show for what a method returned."""
    code = getattr(type(getattr(dataset, "all_rows", dataset)), method)
    return PluginError(f"the dataset returned {what}{source_line(code, method)}")
