"""What is wrong with a text that is not TOML, in words for people who do not know TOML.

Loaded only when tomllib has refused a text. tomllib names one place; from there the statement is
found, explained, and taken out, so that the next error can be found behind it.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable
from typing import Any

from attrs import frozen

from ganforge.recipes.problems import Problem, RecipeError, backslash_problem
from ganforge.recipes.source import Source, Span
from ganforge.recipes.toml_tables import DEEPEST, Table, tables_of

MOST = 20  # errors told at once
_FARTHEST = 400  # lines that one statement may have for its first one to be found

_KEY = r"""(?:[A-Za-z0-9_.-]|"[^"\n]*"|'[^'\n]*')+"""
_STATEMENT = re.compile(rf"\s*(?:\[|{_KEY}\s*=|#|$)")
_PAIR = re.compile(r"\s*(?P<key>[^=#\[\]{}]+?)\s*=\s*(?P<value>.*)$")
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+\s*(?:#|$)")
_WORD = re.compile(r"""[^\s,;\[\]{}="'#]+""")

# What tomllib does not refuse as an error of TOML, but cannot read either.
_OWN = (f"more than {DEEPEST} values within values", "a number of thousands of digits")
_SMART = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb\u2033\u2032\uff02\uff07\u0060\u00b4"
_WORDS = {
    "True": "write true",
    "TRUE": "write true",
    "yes": "write true",
    "Yes": "write true",
    "on": "write true",
    "False": "write false",
    "FALSE": "write false",
    "no": "write false",
    "No": "write false",
    "off": "write false",
    "None": "TOML has no None: leave the line out",
    "none": "TOML has no none: leave the line out, or put quotes around it",
    "null": "TOML has no null: leave the line out",
    "NULL": "TOML has no null: leave the line out",
    "nil": "TOML has no nil: leave the line out",
    "NaN": "write a finite number",
    "Infinity": "write a finite number",
}


def diagnose(source: Source) -> list[Problem]:
    """One Problem for each syntax error of a text that tomllib refuses; never empty."""
    lines = source.lines
    problems: list[Problem] = []
    while len(problems) < MOST and (error := _first_error("\n".join(lines))):
        broken = _Broken.found(source, lines, *error)
        problems.append(broken.explain())
        if broken.swallows_the_rest:
            break
        broken.take_out()
    return problems or [Problem("this is not TOML", Span(source, 1, 1, 1))]


def _first_error(text: str) -> tuple[str, int, int] | None:
    """tomllib's message and its place: row and column from 0."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _POSITION.search(message)
        rows = text.split("\n")
        row, column = len(rows) - 1, len(rows[-1])
        if match and match[1]:
            row, column = int(match[1]) - 1, int(match[2]) - 1
        return _POSITION.sub("", message), row, column
    except RecursionError:
        return (_OWN[0], *_deepest(text))
    except ValueError:  # int() refuses thousands of digits
        match = re.search(r"\d[\d_]{4000,}", text)
        before = text[: match.start()] if match else ""
        return (_OWN[1], before.count("\n"), len(before.split("\n")[-1]))
    return None


def _deepest(text: str) -> tuple[int, int]:
    """Row and column of the line that opens the most brackets."""
    rows = text.split("\n")
    row = max(range(len(rows)), key=lambda number: sum(map(rows[number].count, "[{")))
    return row, 0


@frozen
class _Broken:
    """A statement that tomllib refuses, from row `start` on; it stumbled at (row, column)."""

    source: Source
    lines: list[str]  # shared with `diagnose`, which takes out what was explained
    message: str
    start: int
    row: int
    column: int

    @classmethod
    def found(
        cls, source: Source, lines: list[str], message: str, row: int, column: int
    ) -> _Broken:
        """The statement begins where everything before it is TOML."""
        start = row
        for start in range(row, max(row - _FARTHEST, -1), -1):
            if _first_error("\n".join(lines[:start])) is None:
                break
        else:
            start = row
        return cls(source, lines, message, start, row, column)

    # --- what it is made of ---------------------------------------------------------------------

    @property
    def head(self) -> str:
        """The first line of the statement."""
        return self.lines[self.start]

    @property
    def line(self) -> str:
        """The line in which tomllib stumbled."""
        return self.lines[self.row]

    @property
    def at(self) -> str:
        """The character over which it stumbled; empty at the end of a line."""
        return self.line[self.column : self.column + 1]

    @property
    def is_header(self) -> bool:
        return self.head.lstrip().startswith("[")

    @property
    def key(self) -> str:
        match = _PAIR.match(self.head)
        return match["key"] if match else ""

    @property
    def token(self) -> tuple[int, str]:
        """The word or number around the place, and the column it begins at."""
        for match in _WORD.finditer(self.line):
            if match.start() <= self.column < match.end():
                return match.start(), match[0]
            if (
                match.end() == self.column
                and self.at == ","
                and _THOUSANDS.match(match.string, match.start())
            ):
                return match.start(), match[0]
        return self.column, ""

    @property
    def swallows_the_rest(self) -> bool:
        """An unclosed multi-line string has taken everything to the end of the file."""
        opened = self.head.count('"""') % 2 or self.head.count("'''") % 2
        return bool(opened) and self.row == len(self.lines) - 1

    def span(self, row: int, column: int, length: int = 1) -> Span:
        return Span(self.source, row + 1, column + 1, max(length, 1))

    def here(self, length: int = 1) -> Span:
        return self.span(self.row, self.column, length)

    def statement_span(self) -> Span:
        indent = len(self.head) - len(self.head.lstrip())
        return self.span(self.start, indent, len(self.head.strip()))

    def take_out(self) -> None:
        """Replace the statement by nothing, or a broken header by one that is TOML."""
        header = self.is_header and "=" not in self.head
        braces = self.head.count("{") > self.head.count("}")
        lists = self.row > self.start or self.head.count("[") > self.head.count("]")
        self.lines[self.start] = f'["{_TAKEN_OUT}" . "{self.start}"]' if header else ""
        for row in range(self.start + 1, len(self.lines) if braces or lists else 0):
            line = self.lines[row].lstrip()
            if line.startswith("[") if braces else _STATEMENT.match(line):
                break
            self.lines[row] = ""
            if braces and "}" in line:
                break

    # --- what is wrong with it ------------------------------------------------------------------

    def explain(self) -> Problem:
        attempts: tuple[Callable[[], Problem | None], ...] = (
            self.character,
            self.twice,
            self.header,
            self.backslash,
            self.inline_table,
            self.key_alone,
            self.string,
            self.value,
            self.array,
            self.rest_of_line,
        )
        if self.message.startswith(_OWN):
            return Problem(self.message, self.here())
        for attempt in attempts:
            if problem := attempt():
                return problem
        message = self.message[:1].lower() + self.message[1:]
        return Problem(message, self.here(), label="TOML ends here" if not self.at else "")

    def character(self) -> Problem | None:
        """Quotation marks of word processors, invisible and control characters."""
        for column, character in enumerate(self.line):
            if character in _SMART and _outside(self.line, column):
                end = _closing(self.line, column)
                inner = self.line[column + 1 : end].strip(_SMART + "\"'")
                return Problem(
                    f"{character} is not a quotation mark of TOML",
                    self.span(self.row, column, end - column),
                    label=f'write "{inner}"' if inner else "use straight quotes",
                )
        at = self.at
        odd = at and not at.isascii() and unicodedata.category(at) in ("Zs", "Cf", "Zl", "Zp")
        if odd or (at and at < " " and at != "\t"):
            name = unicodedata.name(at, "a control character").lower()
            message = f"an invisible character: {name} (U+{ord(at):04X})"
            return Problem(message, self.here(), label="delete it, or type a space")
        return None

    def twice(self) -> Problem | None:
        """A key or a table that is written twice."""
        if not self.message.startswith(("Cannot ", "Duplicate ")):
            return None
        if self.message.startswith("Duplicate "):
            return self.twice_inline()
        table = [] if self.is_header else self.table_names()
        key = self.head.strip().split("]")[0].strip("[ \t") if self.is_header else self.key
        path = [*table, *_names(key)]
        span = self.statement_span()
        what = f"[{'.'.join(path)}]"
        if not self.is_header:
            span = self.span(self.start, self.head.index(key), len(key))
            what = f"'{key}'" + (f" in {_bracketed(table)}" if _bracketed(table) else "")
        depth, place = self.first(path)
        if place is None or not key:
            return Problem("this is written twice", span)
        if depth < len(path):
            outer = ".".join(path[:depth])
            message = f"{what} cannot be added to '{outer}', which is complete where it is written"
            return Problem(message, span, label="write it there", related=((place, "here"),))
        message = f"{what} is written twice"
        return Problem(message, span, label="again here", related=((place, "first here"),))

    def twice_inline(self) -> Problem:
        name = self.message.split("'")[1] if "'" in self.message else ""
        before = self.line[: self.column]
        places = [m.start() for m in re.finditer(rf"(?<![\w-]){re.escape(name)}(?![\w-])", before)]
        if len(places) < 2:
            return Problem(f"'{name}' is written twice", self.here())
        related = ((self.span(self.row, places[0], len(name)), "first here"),)
        span = self.span(self.row, places[-1], len(name))
        return Problem(f"'{name}' is written twice", span, label="again here", related=related)

    def table_names(self) -> list[str]:
        """The table that the statement is in."""
        for row in range(self.start - 1, -1, -1):
            line = self.lines[row].strip()
            if line.startswith("[") and _first_error("\n".join(self.lines[:row])) is None:
                return _names(line.split("]")[0].strip("[ \t"))
        return []

    def first(self, path: list[str]) -> tuple[int, Span | None]:
        """How far a path exists before the statement, and where its last part is written."""
        try:
            text = "\n".join(self.lines[: self.start])
            table: Any = tables_of(Source(self.source.name, text, self.source.folder))
        except (ValueError, RecursionError, RecipeError):
            return 0, None
        found: tuple[int, Span | None] = (0, None)
        for depth, name in enumerate(path, 1):
            entry = table.entry(name) if isinstance(table, Table) else None
            if entry is None:
                break
            table, at = entry.value, entry.key_span
            found = (depth, Span(self.source, at.line, at.column, at.length))
        return found

    def header(self) -> Problem | None:
        """`[table`, `[a table]`, `[]`, and what follows a header."""
        if not self.is_header or self.row != self.start:
            return None
        text = self.head.split("#")[0].strip()
        inner = text.strip("[] \t")
        span = self.statement_span()
        closing = "]]" if text.startswith("[[") else "]"
        if not inner:
            return Problem("a table without a name", span, label="write [NAME]")
        if closing not in text:
            message = f"the header of a table ends with {closing}"
            return Problem(message, span, label=f"write [{inner}]")
        if " " in inner and "=" not in inner and '"' not in inner:
            wanted = f"write [{re.sub(r'[ .]+', '.', inner)}]"
            return Problem("the names of a table are joined by dots", span, label=wanted)
        rest = text.partition(closing)[2]
        if rest.strip():
            message = "a table's keys begin on the line below its header"
            return Problem(message, self.here(len(rest.strip())), label="move it to a new line")
        return Problem(f"[{inner}] is not the name of a table", span, label="letters, digits, - _")

    def backslash(self) -> Problem | None:
        """`"C:\\Users"`: what follows the backslash is not an escape."""
        escapes = ("Unescaped '\\' in a string", "Invalid hex value", "Escaped character")
        if not self.message.startswith(escapes):
            return None
        for match in re.finditer(r'"[^"]*"', self.line):
            if match.start() < self.column <= match.end():
                span = self.span(self.row, match.start(), len(match[0]))
                return backslash_problem(match[0], span)
        return Problem('a backslash in "..." begins an escape', self.here(), label="write \\\\")

    def inline_table(self) -> Problem | None:
        """`{` over several lines, with `:`, or with a comma before `}`."""
        opened = self.line.rfind("{", 0, self.column + 1)
        if opened < 0 and self.head.rstrip().endswith("{"):
            opened = len(self.head.rstrip()) - 1
        if opened < 0 or "}" in self.line[opened : self.column]:
            return None
        if not self.at or self.at == "#" or self.row > self.start:
            header = _bracketed([*self.table_names(), *_names(self.key)])
            return Problem(
                "{ ... } must end on the line where it begins",
                self.span(self.start, max(self.head.find("{"), 0)),
                [f"or write its keys on lines of their own below {header}"] if header else [],
                "close it on this line",
            )
        if self.at == "}" and self.line[: self.column].rstrip().endswith(","):
            column = self.line.rfind(",", 0, self.column)
            message = "no comma before }"
            return Problem(message, self.span(self.row, column), label="delete it")
        if self.at == ":":
            return Problem("a key and its value are joined by =", self.here(), label="write =")
        if self.message == "Unclosed inline table":
            return Problem("a comma is missing in { ... }", self.here(), label="before this")
        return None

    def key_alone(self) -> Problem | None:
        """`key: value`, `key value`, `key`, `a key = value`, `= value`, `key =`."""
        text = self.head.split("#")[0].rstrip()
        if self.is_header or self.row != self.start:
            return None
        match = _PAIR.match(text)
        span = self.statement_span()
        if match and not match["value"].strip():
            column = self.head.index("=")
            message = f"'{match['key']}' has no value"
            return Problem(message, self.span(self.row, column), label="write a value after it")
        if match and not re.fullmatch(_KEY, match["key"]):
            key = match["key"]
            if _outside(self.head, self.head.index(key)):
                where = self.span(self.start, self.head.index(key), len(key))
                plain = re.sub(r"[\s.]+", "_", key.strip("\"'"))
                label = f"write {plain}" if plain.isascii() else f'write "{key}"'
                return Problem(f"{key} cannot be a key as it is", where, label=label)
        if text.lstrip().startswith(("//", ";", "--", "/*", "%")):
            return Problem("a comment begins with #", span, label="write # before it")
        if "=" not in text or text.lstrip().startswith("="):
            label = _with_equals(text.strip())
            return Problem("every line is [table] or key = value", span, label=label)
        return None

    def string(self) -> Problem | None:
        """A string that does not end."""
        unclosed = ("Illegal character", "Unterminated string", "Expected \"'", "Found invalid")
        if not self.message.startswith(unclosed):
            return None
        quote = '"""' if '"""' in self.head else "'''" if "'''" in self.head else ""
        if quote:
            column = self.head.index(quote)
            message = f"the text that begins with {quote} does not end"
            return Problem(message, self.span(self.start, column, 3), label=f"no {quote} after it")
        column = max(_opened(self.head, len(self.head)), 0)
        rest = self.head[column:].rstrip()
        span = self.span(self.start, column, len(rest))
        return Problem("this text does not end", span, label=f"close it with {rest[:1]}")

    def value(self) -> Problem | None:
        """Words without quotes, and numbers that TOML writes in another way."""
        column, token = self.token
        if self.message == "Invalid value" and self.at and self.at in ",]}":
            return Problem(f"a value is missing before {self.at}", self.here())
        if self.message == "Invalid value" and self.at == "=":
            return Problem(
                "a key and its value are joined by one =", self.here(), label="delete it"
            )
        if not token or self.message.startswith("Expected '='"):
            return None
        span = self.span(self.row, column, len(token))
        if self.message.startswith("Invalid date") or re.match(r"\d{4}-\d", token):
            return Problem("there is no such date or time", span)
        if token in _WORDS:
            return Problem(f"{token} is not a value of TOML", span, label=_WORDS[token])
        if label := _number(self.line[column:]):
            if thousands := _THOUSANDS.match(self.line, column):
                span = self.span(self.row, column, len(thousands[0].split("#")[0].rstrip()))
            return Problem("not a number of TOML", span, label=label)
        pair = _PAIR.match(self.line)
        if pair and pair.start("value") == column and token[:1] not in "/;":
            rest = re.split(r"\s#", pair["value"])[0].rstrip(" ,;")
            quote = "'" if "\\" in rest else '"'
            span = self.span(self.row, column, len(rest))
            label = f"write {quote}{rest.strip(_SMART)}{quote}"
            return Problem("text needs quotes", span, label=label)
        if re.match(r"[A-Za-z]", token) and (self.line[:column].rstrip()[-1:] in ("[", ",", "=")):
            return Problem("text needs quotes", span, label=f'write "{token}"')
        return None

    def array(self) -> Problem | None:
        """`[1, 2` and `[1 2]`."""
        if self.message not in ("Unclosed array", "Invalid value") or self.is_header:
            return None
        opened = self.head.find("[", self.head.find("="))
        if self.message == "Invalid value" and (opened < 0 or self.at):
            return None
        same_list = self.at and not _STATEMENT.match(self.line)
        if self.row == self.start and self.at:
            same_list = True
        if same_list and self.at != "]":
            return Problem("a comma is missing in [ ... ]", self.here(), label="before this")
        message = "the list does not end"
        rest = self.head[opened:].split("#")[0].rstrip()
        return Problem(message, self.span(self.start, opened, len(rest)), label="close it with ]")

    def rest_of_line(self) -> Problem | None:
        """What follows a value."""
        if not self.message.startswith("Expected newline"):
            return None
        rest = self.line[self.column :].rstrip()
        if decimal := re.match(r",(\d+)$", rest):
            whole = re.split(r"[^\d+-]", self.line[: self.column])[-1]
            label = f"write {whole}.{decimal[1]}"
            return Problem("not a number of TOML", self.here(len(rest)), label=label)
        if re.fullmatch(r"[,;]\s*(#.*)?", rest):
            return Problem(f"no {rest[0]} at the end of a line", self.here(), label="delete it")
        if rest.startswith(("//", "--", "%")):
            return Problem("a comment begins with #", self.here(len(rest)), label="write #")
        if _PAIR.match(rest):
            message = "one key = value on a line"
            return Problem(message, self.here(len(rest)), label="move it to a new line")
        if rest[:1] in "\"'" or self.line[: self.column].rstrip()[-1:] in "\"'":
            message = "the text ends before this"
            return Problem(message, self.here(len(rest)), label="a quotation mark too many?")
        return Problem("the value ends before this", self.here(len(rest)), label="delete it")


_TAKEN_OUT = "taken out"  # the name of the table that a broken header is replaced by


def _bracketed(path: list[str]) -> str:
    """The header of a table; empty for the top level, and below a header that was broken."""
    return f"[{'.'.join(path)}]" if path and path[0] != _TAKEN_OUT else ""


def _names(key: str) -> list[str]:
    """The parts of a dotted key."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except ValueError:
        return [key] if key else []
    names = []
    while isinstance(table, dict):
        name, table = next(iter(table.items()))
        names.append(name)
    return names


def _with_equals(text: str) -> str:
    key, _, value = text.partition(":") if ":" in text else text.partition(" ")
    key, value = key.strip(), value.strip()
    if not value or not re.match(r"[\w\"']", key) or not re.fullmatch(_KEY, key):
        return ""
    return f"write {key} = {value}"


def _outside(line: str, column: int) -> bool:
    """Whether this column is in no string and in no comment."""
    return _opened(line, column) < 0


def _opened(line: str, column: int) -> int:
    """Where the string or comment begins that this column is in; -1 if it is in none."""
    opened, position = -1, 0
    while position < min(column, len(line)):
        character = line[position]
        if opened < 0 and character == "#":
            return position
        if opened >= 0 and line[opened] == '"' and character == "\\":
            position += 1
        elif opened >= 0 and character == line[opened]:
            opened = -1
        elif opened < 0 and character in "\"'":
            opened = position
        position += 1
    return opened


def _closing(line: str, column: int) -> int:
    """Where the text that begins with this odd quotation mark ends."""
    for end in range(column + 1, len(line)):
        if line[end] in _SMART or line[end] in "\"'":
            return end + 1
    return len(line.split("#")[0].rstrip())


_NUMBERS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"([+-]?)(\.\d[\d_]*(?:[eE][+-]?\d+)?)$", lambda m: f"{m[1]}0{m[2]}"),
    (r"([+-]?\d[\d_]*)\.((?:[eE][+-]?\d+)?)$", lambda m: f"{m[1]}.0{m[2]}"),
    (r"([+-]?)0+([1-9][\d_]*(?:\.\d+)?)$", lambda m: f"{m[1]}{m[2]}"),
    (r"(\d+)[kK]$", lambda m: f"{m[1]}_000"),
    (r"(\d+)[mM]$", lambda m: f"{m[1]}_000_000"),
    (r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[fF]$", lambda m: m[1]),
)


def _number(text: str) -> str:
    """How TOML writes the number that this text begins with; empty if it is none or fine."""
    if match := _THOUSANDS.match(text):
        digits = match[0].split("#")[0].strip()
        return f"write {digits.replace(',', '_')}"
    match = _WORD.match(text)
    token = match[0] if match else ""
    for pattern, wanted in _NUMBERS:
        if found := re.match(pattern, token):
            return f"write {wanted(found)}"
    if "_" in token and re.fullmatch(r"[+-]?\d[\d_]*", token):
        return f"write {token.replace('_', '')}"
    if re.fullmatch(r"\d+(?:[xX*]\d+)+", token):
        return f'write [{", ".join(re.split("[xX*]", token))}], or "{token}" if it is text'
    return ""
