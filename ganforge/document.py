"""TOML with positions: every key and value of a recipe knows the file, line and column it is at.

Values come from `tomllib`, positions from the tree that tree-sitter's TOML grammar builds; the
two walk the same text, so a merged recipe can still point at the line that each part came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field, frozen


@frozen
class Source:
    """A text that was read: a file, a `--set` argument, or the defaults of a shipped recipe."""

    name: str  # as printed: the path as the person gave it, or "--set"
    text: str
    folder: Path  # what relative paths in it are relative to


@frozen
class Span:
    """A place in a source; line and column count from 1, length in characters."""

    source: Source
    line: int
    column: int
    length: int


@define
class Entry:
    """One key of a table."""

    key: str
    key_span: Span
    value: Any  # Table, list, str, int, float, bool or a date; lists hold plain values and dicts
    value_span: Span


@define
class Table:
    """A table; `span` is its header, or its first key where it has none."""

    span: Span
    entries: dict[str, Entry] = field(factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def entry(self, key: str) -> Entry | None:
        """The entry of this key, or None."""
        return self.entries.get(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of this key."""
        entry = self.entries.get(key)
        return default if entry is None else entry.value

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Its entries that are tables themselves."""
        return ((e.key, e.value) for e in self if isinstance(e.value, Table))

    def plain(self) -> dict[str, Any]:
        """The same as nested dicts, without positions."""
        return {
            entry.key: entry.value.plain() if isinstance(entry.value, Table) else entry.value
            for entry in self
        }
