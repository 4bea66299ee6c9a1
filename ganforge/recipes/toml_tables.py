"""TOML with positions: every key and value of a recipe knows the file, line and column it is at.

Values come from `tomllib`, positions from the tree that tree-sitter's TOML grammar builds; the
two walk the same text, so a merged recipe can still point at the line that each part came from.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from ganforge.recipes.problems import Problem, RecipeError
from ganforge.recipes.source import Source, Span

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

DEEPEST = 32  # tables within tables


@define
class Entry:
    """One key of a table."""

    key: str
    key_span: Span
    value: Any  # Table, list, str, int, float, bool or a date; lists hold plain values and dicts
    value_span: Span
    preview: bool = False  # whether `[preview]` brought it


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


def tables_of(source: Source) -> Table:
    """The tables of a text. Raises ValueError or RecursionError, as tomllib does, where it is not
    TOML, and RecipeError where tables lie too deep."""
    source = evolve(source, text=source.text.removeprefix("\ufeff"))
    text = source.text.replace("\r\n", "\n")
    values = tomllib.loads(text)
    return _table(values, _Places(source, text).root, DEEPEST)


def _table(values: Mapping[str, Any], place: _Place, deeper: int) -> Table:
    """tomllib's values joined with where they are written."""
    if not deeper:
        raise RecipeError([Problem(f"more than {DEEPEST} tables within tables", place.key)])
    table = Table(place.value)
    for key, value in values.items():
        at = place.inside.get(key) or _Place(place.value, place.value)
        if isinstance(value, dict):
            value = _table(value, at, deeper - 1)
        table.entries[key] = Entry(key, at.key, value, at.value)
    return table


def item_span(entry: Entry, index: int) -> Span:
    """Where item `index` of a list is written; the whole list's place if that cannot be told.

    Only wrong lists ask for it, so that sound recipes do not pay for the places of items.
    """
    whole = entry.value_span
    places = _Places(whole.source, whole.source.text.replace("\r\n", "\n"))
    node = places.array_at(whole)
    items = [n for n in node.named_children if n.type != "comment"] if node else []
    return places.span(items[index]) if index < len(items) else whole


@define
class _Place:
    """Where one key is written, and what is written inside its table."""

    key: Span
    value: Span
    inside: dict[str, _Place] = field(factory=dict)


class _Places:
    """The places of all keys of a text, from the tree that tree-sitter builds of it.

    Where its grammar stumbles over what tomllib accepts, the place of the table around stands in.
    """

    def __init__(self, source: Source, text: str) -> None:
        self._source = source
        self._ascii = text.isascii()
        self._lines = text.split("\n")
        self._tree = _parser().parse(text.encode("utf-8", "replace"))
        start = Span(source, 1, 1, 1)
        self.root = _Place(start, start)
        for node in self._tree.root_node.children:
            if node.type == "pair":
                self._pair(self.root, node)
            elif node.type in ("table", "table_array_element"):
                self._header(node)

    def span(self, first: Node, last: Node | None = None) -> Span:
        """From the first character of one node to the last of another, within one line."""
        row, start = self._point(first.start_point)
        end_row, end = self._point((last or first).end_point)
        if end_row > row:
            end = len(self._lines[row].rstrip())
        return Span(self._source, row + 1, start + 1, max(end - start, 1))

    def array_at(self, span: Span) -> Node | None:
        """The list that is written at this place."""
        line = self._lines[span.line - 1]
        point = (span.line - 1, len(line[: span.column - 1].encode("utf-8", "replace")))
        node = self._tree.root_node.named_descendant_for_point_range(point, point)
        return node if node is not None and node.type == "array" else None

    def _point(self, point: tuple[int, int]) -> tuple[int, int]:
        """tree-sitter counts bytes; people count characters."""
        row, column = point
        if self._ascii or row >= len(self._lines):
            return row, column
        before = self._lines[row].encode("utf-8", "replace")[:column]
        return row, len(before.decode("utf-8", "replace"))

    def _header(self, node: Node) -> None:
        """`[a.b]` and the pairs below it, or `[[a.b]]`, whose items are plain values."""
        brackets = [n for n in node.children if n.type in ("[", "]", "[[", "]]")]  # of the header
        keys = _keys(node.named_children[0]) if node.named_children else []
        if len(brackets) != 2 or not keys:
            return
        header = self.span(*brackets)
        place = self._descend(self.root, keys[:-1], header)
        name, key = keys[-1]
        old = place.inside.get(name)
        if old is None or node.type == "table":  # the explicit header of a table already implied
            place.inside[name] = _Place(self.span(key), header, old.inside if old else {})
        if node.type == "table":
            for child in node.children:
                if child.type == "pair":
                    self._pair(place.inside[name], child)

    def _pair(self, place: _Place, node: Node) -> None:
        """`a.b = value`, in a table or in an inline table."""
        parts = [child for child in node.named_children if child.type != "comment"]
        if len(parts) != 2 or not (keys := _keys(parts[0])):
            return
        place = self._descend(place, keys[:-1], self.span(parts[0]))
        name, key = keys[-1]
        place.inside[name] = here = _Place(self.span(key), self.span(parts[1]))
        if parts[1].type == "inline_table":
            for child in parts[1].children:
                if child.type == "pair":
                    self._pair(here, child)

    def _descend(self, place: _Place, keys: list[tuple[str, Node]], at: Span) -> _Place:
        """The place of a table that these keys go through; made where it is only implied."""
        for name, key in keys:
            place = place.inside.setdefault(name, _Place(self.span(key), at))
        return place


def _keys(node: Node) -> list[tuple[str, Node]]:
    """The parts of a key, `a."b c".d`, with their nodes."""
    parts: list[Node] = []
    while node.type == "dotted_key" and node.named_children:  # nested to the left
        *before, last = node.named_children
        parts.append(last)
        if not before:
            break
        node = before[0]
    else:
        parts.append(node)
    return [(_key_name(part), part) for part in reversed(parts)]


def _key_name(node: Node) -> str:
    raw = (node.text or b"").decode("utf-8", "replace")
    if node.type != "quoted_key":
        return raw
    if "\\" not in raw or raw.startswith("'"):
        return raw[1:-1]
    try:
        return next(iter(tomllib.loads(f"{raw} = 0")))
    except ValueError:
        return raw[1:-1]


@cache
def _parser() -> Parser:
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language()))


def toml_text(value: Any) -> str:
    """A value as TOML writes it, for messages; None is "unset"."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, Path)):
        text = value.as_posix() if isinstance(value, Path) else value
        return json.dumps(text, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {toml_text(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return str(value)
