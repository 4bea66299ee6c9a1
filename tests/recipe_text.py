"""Texts from which tests make others by replacing a part."""

from __future__ import annotations

from typing import SupportsIndex


class RecipeText(str):
    """A text whose `replace` fails where there is nothing to replace.

    A test that makes its recipe of another one would otherwise test that other one, silently, once
    its text has changed. What is made of it by `+` and `replace` is such a text again.
    """

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> RecipeText:
        assert old in self, f"there is no {old!r} to replace in:\n{self}"
        return RecipeText(super().replace(old, new, count))

    def __add__(self, other: str) -> RecipeText:
        return RecipeText(super().__add__(other))

    def __radd__(self, other: str) -> RecipeText:
        return RecipeText(other + str(self))
