"""Tables for people."""

from __future__ import annotations

import sys

import pytest

from ganforge.cli.tables import print_tables

TABLES = [
    ("losses", [("hinge", "both sides"), ("least-squares", "a " + "very " * 60 + "long one", "x")]),
    ("nothing", []),
    ("hooks", [("ema", "averages [weights]")]),
]


def test_elsewhere_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(TABLES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["losses", "  hinge          both sides"]
    assert lines[2].endswith("very long one  x")
    assert lines[3:] == ["", "hooks", "  ema  averages [weights]"]


def test_aligned_tables_share_their_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(TABLES, aligned=True)
    assert capsys.readouterr().out.splitlines()[-1] == "  ema            averages [weights]"


def test_a_terminal_gets_tables_of_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    print_tables(TABLES)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60 + len("\x1b[1m\x1b[0m")
    assert any("least-squares" in line for line in lines)
    assert any("averages [weights]" in line for line in lines)
