"""A recipe's text, read from a file and parsed, with what is wrong in it as problems."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import evolve

from ganforge.recipes.problems import Problem, RecipeError, backslash_problem
from ganforge.recipes.source import Source, Span, written
from ganforge.recipes.toml_tables import Table, item_span, tables_of

LARGEST = 1_000_000  # bytes; a recipe has a few thousand

# "C:\new", as it arrives: TOML has read a new line where nobody meant one.
_DRIVE_PATH = re.compile(r"[A-Za-z]:[\\\b\t\n\f\r]")
_CONTROL = re.compile(r"[\b\t\n\f\r]")


def read(path: Path, name: str = "", extended_at: Span | None = None) -> Source:
    """The text of a file. Raises RecipeError with one line if it is not readable text.

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
    return RecipeError([Problem(message, span)])


def parse(source: Source) -> Table:
    """The tables of a text. Raises RecipeError with one Problem for each syntax error."""
    source = evolve(source, text=source.text.removeprefix("\ufeff"))
    try:
        table = tables_of(source)
    except (ValueError, RecursionError):
        from ganforge.recipes.syntax_errors import diagnose  # loaded only when there is an error

        raise RecipeError(diagnose(source)) from None
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
