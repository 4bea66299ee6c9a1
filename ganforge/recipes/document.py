"""TOML with positions: every key and value of a recipe knows the file, line and column it is at.

Values come from `tomllib`, positions from the tree that tree-sitter's TOML grammar builds; the
two walk the same text, so a merged recipe can still point at the line that each part came from.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

    from ganforge.recipes.problems import Problem

LARGEST = 1_000_000  # bytes; a recipe has a few thousand
DEEPEST = 32  # tables within tables

# "C:\new", as it arrives: TOML has read a new line where nobody meant one.
_DRIVE_PATH = re.compile(r"[A-Za-z]:[\\\b\t\n\f\r]")
_CONTROL = re.compile(r"[\b\t\n\f\r]")


@frozen
class Source:
    """A text that was read: a file, a `--set` argument, or the defaults of a shipped recipe."""

    name: str  # as printed: the path as the person gave it, or "--set"
    text: str = field(repr=False)
    folder: Path  # what relative paths in it are relative to
    extended_at: Span | None = field(default=None, eq=False, repr=False)  # where a child names it

    @property
    def lines(self) -> list[str]:
        """Its lines as an editor counts them."""
        return self.text.replace("\r\n", "\n").split("\n")


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


def read(path: Path, name: str = "", extended_at: Span | None = None) -> Source:
    """The text of a file. Raises RecipeError with one line when it is no text that can be read.

    name: what to call it in messages, the path itself if left out.
    """
    name = name or str(path)
    if os.path.isdir(path):  # noqa: PTH112 (never raises)
        raise _unreadable(f"{name} is a folder; a recipe is a TOML file", extended_at)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise _unreadable(f"there is no file {name}", extended_at) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(f"{name} cannot be read: {reason}", extended_at) from None
    if len(data) > LARGEST:
        message = f"{name} is larger than 1 MB; a recipe has a few hundred lines. The right file?"
        raise _unreadable(message, extended_at)
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 (no resolving of links)
    return Source(name, _decode(data, name, extended_at), folder, extended_at)


def _decode(data: bytes, name: str, extended_at: Span | None) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            what = f"{name} is UTF-16 text; save it as UTF-8"
        else:
            line = data.count(b"\n", 0, error.start) + 1
            byte = data[error.start]
            what = f"{name} is not UTF-8 text: byte 0x{byte:02x} in line {line}; save it as UTF-8"
        raise _unreadable(what, extended_at) from None


def _unreadable(message: str, span: Span | None) -> Exception:
    from ganforge.recipes.problems import Problem, RecipeError

    return RecipeError([Problem(message, span)])


def parse(source: Source) -> Table:
    """The tables of a text. Raises RecipeError with one Problem for each syntax error."""
    from ganforge.recipes.problems import RecipeError

    source = evolve(source, text=source.text.removeprefix("\ufeff"))
    text = source.text.replace("\r\n", "\n")
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError):
        from ganforge.recipes.syntax_errors import (
            diagnose,  # only needed, so only loaded, when there is an error
        )

        raise RecipeError(diagnose(source)) from None
    table = _table(values, _Places(source, text).root, DEEPEST)
    if traps := _escaped_paths(table):
        raise RecipeError(traps)
    return table


def _escaped_paths(table: Table) -> list[Problem]:
    """Windows paths in double quotes whose backslashes TOML took for escapes, as in "C:\\new"."""
    traps: list[Problem] = []
    for entry in table:
        if isinstance(entry.value, Table):
            traps += _escaped_paths(entry.value)
        items = entry.value if isinstance(entry.value, list) else [entry.value]
        for index, item in enumerate(items):
            if isinstance(item, str) and _DRIVE_PATH.match(item) and _CONTROL.search(item):
                span = item_span(entry, index) if items is entry.value else entry.value_span
                traps.append(backslash_problem(written(span), span))
    return traps


def backslash_problem(token: str, span: Span) -> Problem:
    """The problem of a double-quoted path with backslashes; token: with its quotes."""
    from ganforge.recipes.problems import Problem

    inner = token.strip('"').replace("\\\\", "\\")
    label = f"write '{inner}'"
    if re.match(r"[A-Za-z]:|[~.]|\w+\\\w", inner):  # a path
        label += f' or "{inner.replace(chr(92), "/")}"'
    message = 'a backslash in "..." begins an escape, such as \\n for a new line'
    return Problem(message, span, label=label)


def written(span: Span) -> str:
    """The characters of this place, as they are in the file."""
    return span.source.lines[span.line - 1][span.column - 1 :][: span.length]


def _table(values: Mapping[str, Any], place: _Place, deeper: int) -> Table:
    """tomllib's values joined with where they are written."""
    if not deeper:
        from ganforge.recipes.problems import Problem, RecipeError

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
