"""Texts that were read, and places in them: file, line and column."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen


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


def written(span: Span) -> str:
    """The characters of this place, as they are in the file."""
    return span.source.lines[span.line - 1][span.column - 1 :][: span.length]
