"""The problems of a recipe: collected, then reported all at once, in the order of the file."""

from __future__ import annotations

import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from ganforge.interfaces.errors import GanforgeError
from ganforge.recipes.source import Span

if TYPE_CHECKING:
    from rich.console import Console

SET = "--set"  # the name of a source that is a command-line argument
LONGEST = 1000  # characters of a message or a note
WIDTH = 100  # columns of what is printed where there is no terminal

_HEADER = re.compile(r"""\s*\[\[?[\w\s."'-]+\]\]?\s*(#.*)?$""")


def _as_tuple(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(lines)


@frozen
class Problem:
    """One mistake: what is wrong, where, and lines that help (nearest names, what is allowed)."""

    message: str
    span: Span | None = None
    notes: tuple[str, ...] = field(default=(), converter=_as_tuple)
    label: str = ""  # printed behind the caret, e.g. "did you mean 'weight'?"
    related: tuple[tuple[Span, str], ...] = ()  # other places that belong to it, with their labels


class RecipeError(GanforgeError):
    """All problems of a recipe; `ganforge` prints them with source lines and carets."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in problems))


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each once, file by file as they first appear, `--set` and what has no place last."""
    unique = list(dict.fromkeys(problems))
    sources = [_source_key(problem.span) for problem in unique if problem.span]
    rank = {key: number for number, key in enumerate(dict.fromkeys(sources))}

    def place(problem: Problem) -> tuple[int, int, int, int]:
        if problem.span is None:
            return (2, 0, 0, 0)
        key = _source_key(problem.span)
        return (int(key[0] == SET), rank[key], problem.span.line, problem.span.column)

    return sorted(unique, key=place)


def _source_key(span: Span) -> tuple[str, str]:
    name = span.source.name
    return (name, span.source.text if name == SET else "")


def render(problems: Iterable[Problem], width: int = WIDTH) -> str:
    """All problems as plain text, with source lines, carets and the count at the end."""
    lines = _lines(problems, width)
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def print_problems(error: RecipeError, console: Console | None = None) -> None:
    """Print to the console, or to standard error: coloured on a terminal, else plain text."""
    if console is None and not sys.stderr.isatty():
        print(render(error.problems), file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = console or Console(stderr=True)
    for line in _lines(error.problems, console.width):
        console.print(Text.assemble(*line), soft_wrap=True, highlight=False)


def to_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """The same for programs: plain dicts, places as file, line, column and length from 1."""
    return [
        {
            "message": problem.message,
            "label": problem.label,
            "notes": list(problem.notes),
            **_json_place(problem.span),
            "related": [{"label": label, **_json_place(span)} for span, label in problem.related],
        }
        for problem in in_file_order(problems)
    ]


def _json_place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {"file": None, "line": None, "column": None, "length": None}
    place = {"file": span.source.name, "line": span.line, "column": span.column}
    if span.source.extended_at:
        place["extended_at"] = place_of(span.source.extended_at)
    return {**place, "length": span.length}


def place_of(span: Span) -> str:
    """`file:line`, or `--set`."""
    return SET if span.source.name == SET else f"{span.source.name}:{span.line}"


_Line = list[tuple[str, str]]  # pieces of one printed line: text, style


def _lines(problems: Iterable[Problem], width: int) -> list[_Line]:
    lines: list[_Line] = []
    ordered = in_file_order(problems)
    for problem in ordered:
        lines += [*_problem_lines(problem, width), []]
    count = len(ordered)
    summary = f"{count} error{'' if count == 1 else 's'}; nothing was built."
    return [*lines, [(summary, "bold")]]


def _problem_lines(problem: Problem, width: int) -> list[_Line]:
    lines: list[_Line] = [[("error", "bold red"), (f": {_shown(problem.message)}", "bold")]]
    notes = [_shown(note) for note in problem.notes]
    gutter = 2
    if problem.span:
        here = problem.span.source
        near = [(s, label) for s, label in problem.related if s.source == here]
        notes += [f"{label}: {place_of(s)}" for s, label in problem.related if s.source != here]
        gutter = 2 if here.name == SET else max(2, len(str(problem.span.line)))
        lines += _excerpt(problem.span, problem.label, near, gutter, width)
    elif problem.label:
        notes.insert(0, _shown(problem.label))
    for note in notes:
        first, *rest = _wrapped(note, width - gutter - 3)
        lines.append([(" " * gutter + " = ", "blue"), (first, "")])
        lines += [[(" " * (gutter + 3) + line, "")] for line in rest]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    wrap = textwrap.wrap(
        text, max(width, 20), break_long_words=False, break_on_hyphens=False, subsequent_indent="  "
    )
    return wrap or [""]


def _excerpt(
    span: Span, label: str, related: list[tuple[Span, str]], gutter: int, width: int
) -> list[_Line]:
    """The place, the source lines and the carets below them."""
    marks = sorted([(span, label, True), *((s, text, False) for s, text in related)], key=_where)
    named = span.source.name != SET
    where = f"{span.source.name}:{span.line}:{span.column}" if named else SET
    if span.source.extended_at:
        where += f", extended at {place_of(span.source.extended_at)}"
    lines: list[_Line] = [
        [(" " * gutter + "--> ", "blue"), (_shown(where), "")],
        [(" " * gutter + " |", "blue")],
    ]
    source = span.source.lines
    room = width - gutter - 3
    header = _header_above(source, marks[0][0].line) if named else 0
    if header:
        text, _, _ = _cut(source[header - 1], 1, 0, room)
        lines.append([(f"{header:>{gutter}} | ", "blue"), (text, "")])
    shown = 0
    for mark, text_label, main in marks:
        line = source[mark.line - 1] if mark.line <= len(source) else ""
        text, before, under = _cut(line, mark.column, mark.length, room)
        if mark.line != shown:
            number = str(mark.line) if named else ""
            lines.append([(f"{number:>{gutter}} | ", "blue"), (text, "")])
            shown = mark.line
        style = "bold red" if main else "blue"
        carets = ("^" if main else "-") * under
        tail = f" {_shown(text_label)}" if text_label else ""
        lines.append([(" " * gutter + " | ", "blue"), (" " * before + carets + tail, style)])
    return lines


def _where(mark: tuple[Span, str, bool]) -> tuple[int, int]:
    return (mark[0].line, mark[0].column)


def _header_above(lines: list[str], line: int) -> int:
    """The line number of the table header that this line is under; 0 if it has none."""
    if line > len(lines) or lines[line - 1].lstrip().startswith("["):
        return 0
    return next((n for n in range(line - 1, 0, -1) if _HEADER.match(lines[n - 1])), 0)


def _cut(line: str, column: int, length: int, room: int) -> tuple[str, int, int]:
    """A source line in at most `room` cells: its text, the cells before the mark, its width."""
    characters = [_character(c) for c in line]
    cells = [_width(c) for c in characters]
    start = min(column - 1, len(characters))
    stop = min(start + length, len(characters))
    first, last = 0, len(characters)
    if sum(cells) > room:
        while sum(cells[first:start]) > room // 3:
            first += 1
        while sum(cells[first:last]) > room - 2:
            last -= 1
        stop = min(stop, last)
    left, right = "…" * (first > 0), "…" * (last < len(characters))
    text = left + "".join(characters[first:last]) + right
    return text, len(left) + sum(cells[first:start]), max(sum(cells[start:stop]), 1)


def _shown(text: str) -> str:
    """A message without control characters and of a length that somebody will read."""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(_character(c) for c in text)


def _character(character: str) -> str:
    """The escape for a character that a terminal would obey instead of show."""
    if character.isprintable():
        return character
    if character == "\t":
        return "    "
    if character < " ":
        return chr(0x2400 + ord(character))  # the pictures of control characters
    if unicodedata.category(character) == "Zs":
        return " "
    return "\N{REPLACEMENT CHARACTER}"


def _width(text: str) -> int:
    """Cells of a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def backslash_problem(token: str, span: Span) -> Problem:
    """The problem of a double-quoted path with backslashes; token: with its quotes."""
    inner = token.strip('"').replace("\\\\", "\\")
    label = f"write '{inner}'"
    if re.match(r"[A-Za-z]:|[~.]|\w+\\\w", inner):  # a path
        label += f' or "{inner.replace(chr(92), "/")}"'
    message = 'a backslash in "..." begins an escape, such as \\n for a new line'
    return Problem(message, span, label=label)
