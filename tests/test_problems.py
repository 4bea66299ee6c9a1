"""What is printed about problems: order, places, carets, long and strange lines, colours, JSON."""

import io
import json
from pathlib import Path

import pytest
from attrs import evolve
from rich.console import Console

from ganforge.recipes.problems import (
    Problem,
    RecipeError,
    in_file_order,
    print_problems,
    render,
    to_json,
)
from ganforge.recipes.source import Source, Span

TEXT = """\
recipe = 1

[losses.cycle]
use = "cycle-consistency"
wieght = 10.0
"""
RECIPE = Source("recipes/cyclegan.toml", TEXT, Path("recipes"))


def at(line: int, column: int = 1, length: int = 1, source: Source = RECIPE) -> Span:
    return Span(source, line, column, length)


TYPO = Problem(
    "loss 'cycle' has no option 'wieght'",
    at(5, 1, 6),
    ['options: pairs (required), norm = "l1"', "see `ganforge show loss/cycle`"],
    "did you mean 'weight'?",
)


def test_a_problem_with_everything():
    assert (
        render([TYPO])
        == """\
error: loss 'cycle' has no option 'wieght'
  --> recipes/cyclegan.toml:5:1
   |
 3 | [losses.cycle]
 5 | wieght = 10.0
   | ^^^^^^ did you mean 'weight'?
   = options: pairs (required), norm = "l1"
   = see `ganforge show loss/cycle`

1 error; nothing was built."""
    )


def test_a_problem_without_a_place_has_its_label_as_a_note():
    problem = Problem("there is no recipe x", label="a label", notes=["a note"])
    assert render([problem]) == (
        "error: there is no recipe x\n   = a label\n   = a note\n\n1 error; nothing was built."
    )


def test_problems_come_in_the_order_of_the_file_each_once_and_are_counted():
    early = Problem("early", at(1))
    late = Problem("late", at(5, 4))
    parent = Problem("parent", at(1, source=Source("base.toml", "x", Path())))
    first = Problem("first", at(1, 9, source=Source("--set", "train.x=1", Path())))
    second = Problem("second", at(1, 2, source=Source("--set", "b=1", Path())))
    nowhere = Problem("nowhere")
    given = [nowhere, first, TYPO, second, late, parent, early, TYPO, Problem("late", at(5, 4))]
    assert [problem.message for problem in in_file_order(given)] == [
        *("early", TYPO.message, "late", "parent", "first", "second", "nowhere"),
    ]
    assert render(given).endswith("\n\n7 errors; nothing was built.")


def test_an_argument_of_the_command_line_has_no_line_number():
    source = Source("--set", "train.stepz=3", Path())
    problem = Problem(
        "[train] has no key 'stepz'", Span(source, 1, 7, 5), label="did you mean 'steps'?"
    )
    assert render([problem]).startswith(
        """\
error: [train] has no key 'stepz'
  --> --set
   |
   | train.stepz=3
   |       ^^^^^ did you mean 'steps'?
"""
    )


def test_a_problem_in_a_parent_says_where_it_is_extended():
    child = Source("child.toml", 'recipe = 1\nextends = "base.toml"', Path())
    parent = Source("base.toml", "x", Path(), extended_at=Span(child, 2, 11, 11))
    assert "  --> base.toml:1:1, extended at child.toml:2\n" in render(
        [Problem("m", Span(parent, 1, 1, 1))]
    )


def test_other_places_are_shown_in_the_order_of_lines():
    related = (at(4, 1, 3), "first here"), (Span(Source("b.toml", "x", Path()), 1, 1, 1), "also")
    assert render([Problem("twice", at(5, 1, 6), label="again", related=related)]).startswith(
        """\
error: twice
  --> recipes/cyclegan.toml:5:1
   |
 3 | [losses.cycle]
 4 | use = "cycle-consistency"
   | --- first here
 5 | wieght = 10.0
   | ^^^^^^ again
   = also: b.toml:1
"""
    )


def excerpt(line: str, column: int, length: int = 1, width: int = 100) -> list[str]:
    source = Source("r.toml", line, Path())
    return render([Problem("m", Span(source, 1, column, length))], width).split("\n")[3:5]


def test_a_wide_line_is_cut_around_the_place():
    line = "a" * 60 + "BBB" + "c" * 200
    assert excerpt(line, 61, 3, width=45) == [
        " 1 | " + "…" + "a" * 13 + "BBB" + "c" * 22 + "…",
        "   | " + " " * 14 + "^^^",
    ]
    assert excerpt("B" * 300, 1, 300, width=45) == [" 1 | " + "B" * 38 + "…", "   | " + "^" * 38]


@pytest.mark.parametrize("column", [1, 10, 50, 199, 200, 300])
def test_no_line_is_wider_than_the_terminal(column):
    assert all(len(line) <= 60 for line in excerpt("x" * 200, column, 500, width=60))


def test_carets_stand_below_wide_characters_and_tabs():
    assert excerpt('\tx = "馬", ten', 11, 3) == [' 1 |     x = "馬", ten', "   |               ^^^"]
    assert excerpt('"e\u0301" = ten', 8, 3)[1] == "   |       ^^^"


def test_control_characters_are_shown_and_not_obeyed():
    source = Source("a\x1b[31m.toml", 'x = "\x1b[2J\u202e"', Path())
    told = render([Problem("key '\x1b[0m\n'", Span(source, 1, 6, 1), ["\x07"], "\x08")])
    assert not any(c in told for c in "\x1b\x07\x08\u202e")
    assert "key '␛[0m␊'" in told


def test_very_long_messages_end():
    assert len(render([Problem("m" * 10_000, at(1), label="l" * 10_000)])) < 3000


def test_a_place_behind_the_end_of_the_text_is_no_error():
    assert "\n 9 |\n   | ^\n" in render([Problem("m", at(9, 40, 5))])


def test_long_notes_are_wrapped_below_themselves():
    note = "options: " + ", ".join(f"option-{n} = {n}" for n in range(20))
    lines = render([evolve(TYPO, notes=(note,))], width=60).split("\n")
    start = lines.index("   = options: option-0 = 0, option-1 = 1, option-2 = 2,")
    assert lines[start + 1].startswith("       option-3 = 3")
    assert max(map(len, lines)) <= 60


def test_without_a_terminal_plain_text_goes_to_standard_error(capsys):
    print_problems(RecipeError([TYPO]))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == render([TYPO]) + "\n"


def test_a_terminal_gets_colours_and_markup_of_the_user_is_text():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=80)
    print_problems(RecipeError([evolve(TYPO, message="[red]no[/red]", label="[bold]")]), console)
    assert "\x1b[1;31merror\x1b[0m" in screen.getvalue()
    plain = io.StringIO()
    print_problems(RecipeError([TYPO]), Console(file=plain, width=100))
    assert plain.getvalue() == render([TYPO]) + "\n"
    assert "[red]no[/red]" in screen.getvalue()
    assert "^^^^^^ [bold]" in screen.getvalue()


def test_json_holds_the_same():
    child = Source("child.toml", "", Path())
    parent = Source("base.toml", "x", Path(), extended_at=Span(child, 2, 1, 1))
    problems = [
        Problem("nowhere"),
        evolve(TYPO, related=((at(4), "here"),)),
        Problem("p", at(1, source=parent)),
    ]
    found = json.loads(json.dumps(to_json(problems)))
    assert found[0] == {
        "message": "loss 'cycle' has no option 'wieght'",
        "label": "did you mean 'weight'?",
        "notes": ['options: pairs (required), norm = "l1"', "see `ganforge show loss/cycle`"],
        "file": "recipes/cyclegan.toml",
        "line": 5,
        "column": 1,
        "length": 6,
        "related": [
            {"label": "here", "file": "recipes/cyclegan.toml", "line": 4, "column": 1, "length": 1}
        ],
    }
    assert found[1]["extended_at"] == "child.toml:2"
    assert found[2]["file"] is None


def test_the_error_itself_is_one_line_of_messages():
    assert str(RecipeError([Problem("a"), Problem("b")])) == "a; b"
    assert RecipeError([]).exit_status == 2
