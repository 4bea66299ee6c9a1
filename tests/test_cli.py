"""The command line itself: help, errors in a line, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from ganforge import __version__
from ganforge.cli.main import COMMANDS, SECTIONS, main
from ganforge.interfaces.errors import GanforgeError, TrainingError
from ganforge.recipes.problems import Problem, RecipeError
from ganforge.registry.registry import NotFound


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Lets the command `list` raise an error."""

    def fail_with(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr("ganforge.cli.list_.command", command)

    return fail_with


def test_help_groups_the_commands_by_purpose(ganforge_cli) -> None:
    answer = ganforge_cli("--help")
    assert answer.status == 0
    assert answer.err == ""
    for section, commands in SECTIONS.items():
        assert f"\n{section}\n" in answer.out
        for name, (_, line) in commands.items():
            assert f"  {name}" in answer.out
            assert line in answer.out
    assert "ganforge run cyclegan-horse2zebra --preview" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [[], ["-h"]])
def test_no_arguments_are_a_question_for_help(ganforge_cli, arguments: list[str]) -> None:
    assert ganforge_cli(*arguments) == ganforge_cli("--help")


def test_version(ganforge_cli) -> None:
    assert ganforge_cli("--version").out == f"ganforge {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(ganforge_cli, name: str) -> None:
    answer = ganforge_cli(name, "--help")
    assert answer.status == 0
    assert answer.out.startswith(f"Usage: ganforge {name}")


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("train", "run"),
        ("resume", "run"),
        ("generate", "sample"),
        ("validate", "check"),
        ("plugins", "list"),
        ("shwo", "show"),
        ("translat", "translate"),
    ],
)
def test_strangers_words_lead_to_ours(ganforge_cli, word: str, command: str) -> None:
    answer = ganforge_cli(word, "recipe.toml")
    assert answer.status == 2
    assert answer.err.splitlines()[0] == (
        f"error: there is no command '{word}'; did you mean '{command}'?"
    )
    assert answer.out == ""


def test_a_word_like_nothing_is_only_refused(ganforge_cli) -> None:
    assert ganforge_cli("xyzzy").err.splitlines()[0] == "error: there is no command 'xyzzy'"


def test_a_wrong_option_is_one_line_and_where_to_look(ganforge_cli) -> None:
    answer = ganforge_cli("list", "--jason")
    assert answer.status == 2
    lines = answer.err.splitlines()
    assert lines[0].startswith("error: no such option '--jason'") or "--jason" in lines[0]
    assert lines[-1] == "   = `ganforge list --help` shows what it takes"


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (GanforgeError("The data is gone."), 2, "error: The data is gone.\n"),
        (TrainingError("NaN in loss 'hinge'"), 1, "error: NaN in loss 'hinge'\n"),
        (
            NotFound("there is no loss 'a'", ["similar: 'b'", "there are: b"]),
            2,
            "error: there is no loss 'a'\n   = similar: 'b'\n   = there are: b\n",
        ),
        (
            RecipeError([Problem("the recipe has no data")]),
            2,
            "error: the recipe has no data\n\n1 error; nothing was built.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_told_without_a_traceback(
    ganforge_cli, failing, error: BaseException, status: int, expected: str
) -> None:
    failing(error)
    answer = ganforge_cli("list")
    assert answer.status == status
    assert answer.err.lstrip("\n") == expected
    assert answer.out == ""


def test_an_unexpected_error_shows_its_traceback_and_says_whose_it_is(
    ganforge_cli, failing
) -> None:
    failing(ZeroDivisionError("by zero"))
    answer = ganforge_cli("list")
    assert answer.status == 1
    assert "Traceback" in answer.err
    assert "ZeroDivisionError: by zero" in answer.err
    assert answer.err.splitlines()[-1].startswith("error: this is a bug in ganforge")


def test_what_a_command_returns_is_no_exit_status(ganforge_cli, monkeypatch) -> None:
    monkeypatch.setattr("ganforge.cli.list_.command", click.command()(lambda: 3))
    assert ganforge_cli("list").status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ganforge", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_group_can_be_called_from_python() -> None:
    with pytest.raises(click.UsageError):
        main(["xyzzy"], standalone_mode=False)
