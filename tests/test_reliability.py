"""Every promise of docs/reliability.md stands beside tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs a checkout, not only a wheel")


def named() -> list[tuple[str, str]]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    return re.findall(r"`([\w/]+\.py)::(\w+)`", text)


@pytest.mark.parametrize(("file", "name"), named())
def test_the_tests_that_hold_a_promise_are_there(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_of_a_table_names_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    headers = ("| promise ", "| what happens ")
    promises = [row for row in rows if not row.startswith(headers)]
    assert promises and all("::test_" in row for row in promises)
