"""The problems of a recipe: collected, then told all at once, in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from ganforge.document import Span
from ganforge.errors import GanforgeError


@frozen
class Problem:
    """One mistake: what is wrong, where, and lines that help (nearest names, what is allowed)."""

    message: str
    span: Span | None = None
    notes: tuple[str, ...] = field(default=(), converter=tuple)
    label: str = ""  # printed behind the caret, e.g. "did you mean 'weight'?"


class RecipeError(GanforgeError):
    """All problems of a recipe; `ganforge` prints them with source lines and carets."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in problems))
