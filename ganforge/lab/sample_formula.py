"""Sums of samples, such as `mean(3,8,11) - mean(2,5,9) + mean(1,4,7)`. Light.

Seeds and `mean(SEED, ...)` are added, subtracted and multiplied by numbers. The text is parsed as
an expression of Python and read node by node; nothing of it is evaluated.
"""

from __future__ import annotations

import ast
from typing import NoReturn

from attrs import frozen

from ganforge.interfaces.errors import GanforgeError

EXAMPLE = "mean(3,8,11) - mean(2,5,9) + mean(1,4,7)"
_LONGEST = 1000  # characters


@frozen
class Group:
    """Seeds that are averaged, and what their mean is multiplied by."""

    seeds: tuple[int, ...]
    weight: float


def parsed(text: str) -> list[Group]:
    """The groups of a formula, in order. Raises GanforgeError where it is none."""
    if len(text) > _LONGEST:
        raise GanforgeError(f"the formula is longer than {_LONGEST:,} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" at character {error.offset}" if isinstance(error, SyntaxError) else ""
        raise GanforgeError(
            f"cannot read the formula '{text}'{place}; an example: {EXAMPLE}"
        ) from None
    return _sum(tree.body, 1.0)


def _sum(node: ast.expr, weight: float) -> list[Group]:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _sum(left, weight) + _sum(right, weight)
        case ast.BinOp(left, ast.Sub(), right):
            return _sum(left, weight) + _sum(right, -weight)
        case ast.BinOp(ast.Constant(float() | int() as number), ast.Mult(), right):
            return _sum(right, weight * number)
        case ast.BinOp(left, ast.Mult() | ast.Div() as operation, ast.Constant(value)):
            if not isinstance(value, (int, float)) or (
                value == 0 and isinstance(operation, ast.Div)
            ):
                _refuse(node)
            return _sum(left, weight * value if isinstance(operation, ast.Mult) else weight / value)
        case ast.UnaryOp(ast.USub(), operand):
            return _sum(operand, -weight)
        case ast.Call(ast.Name("mean"), [_, *_] as seeds, []):
            return [Group(tuple(_seed(seed) for seed in seeds), weight)]
    return [Group((_seed(node),), weight)]


def _seed(node: ast.expr) -> int:
    if not isinstance(node, ast.Constant) or type(node.value) is not int:
        _refuse(node)
    return node.value


def _refuse(node: ast.expr) -> NoReturn:
    raise GanforgeError(
        f"'{ast.unparse(node)}' is neither a seed nor `mean(SEED, ...)`; an example: {EXAMPLE}"
    )
