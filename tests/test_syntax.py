"""Every mistake in TOML that people make, and the whole message that each of them gets."""

from pathlib import Path

import pytest

from ganforge.recipes.document import parse
from ganforge.recipes.problems import RecipeError, render
from ganforge.recipes.source import Source


def told(text: str) -> str:
    """What is printed about a text, without the count at the end."""
    with pytest.raises(RecipeError) as caught:
        parse(Source("r.toml", text, Path()))
    return render(caught.value.problems).rpartition("\n\n")[0]


CATALOGUE = [
    (
        "a path with backslashes that are escapes",
        r'root = "C:\new\data"',
        r"""
error: a backslash in "..." begins an escape, such as \n for a new line
  --> r.toml:1:8
   |
 1 | root = "C:\new\data"
   |        ^^^^^^^^^^^^^ write 'C:\new\data' or "C:/new/data"
""",
    ),
    (
        "a path with backslashes that are none",
        r"""
[data]
use = "folder"
root = "C:\Users\me" # mine
""",
        r"""
error: a backslash in "..." begins an escape, such as \n for a new line
  --> r.toml:3:8
   |
 1 | [data]
 3 | root = "C:\Users\me" # mine
   |        ^^^^^^^^^^^^^ write 'C:\Users\me' or "C:/Users/me"
""",
    ),
    (
        "a path in a list",
        r'roots = ["a", "D:\temp"]',
        r"""
error: a backslash in "..." begins an escape, such as \n for a new line
  --> r.toml:1:15
   |
 1 | roots = ["a", "D:\temp"]
   |               ^^^^^^^^^ write 'D:\temp' or "D:/temp"
""",
    ),
    (
        "an escape that does not exist",
        r'pattern = "\d"',
        r"""
error: a backslash in "..." begins an escape, such as \n for a new line
  --> r.toml:1:11
   |
 1 | pattern = "\d"
   |           ^^^^ write '\d'
""",
    ),
    (
        "an inline table over several lines",
        """
[data]
domains = {
  horse = "trainA",
  zebra = "trainB"
}
[train]
batch = 01
""",
        """
error: { ... } must end on the line where it begins
  --> r.toml:2:11
   |
 1 | [data]
 2 | domains = {
   |           ^ close it on this line
   = or write its keys on lines of their own below [data.domains]

error: not a number of TOML
  --> r.toml:7:9
   |
 6 | [train]
 7 | batch = 01
   |         ^^ write 1
""",
    ),
    (
        "a comma before }",
        "x = { a = 1, }",
        """
error: no comma before }
  --> r.toml:1:12
   |
 1 | x = { a = 1, }
   |            ^ delete it
""",
    ),
    (
        "a colon in an inline table",
        "x = { a: 1 }",
        """
error: a key and its value are joined by =
  --> r.toml:1:8
   |
 1 | x = { a: 1 }
   |        ^ write =
""",
    ),
    (
        "no comma in an inline table",
        "x = { a = 1 b = 2 }",
        """
error: a comma is missing in { ... }
  --> r.toml:1:13
   |
 1 | x = { a = 1 b = 2 }
   |             ^ before this
""",
    ),
    (
        "a key twice in a table",
        """
[train]
steps = 1
batch = 3
steps = 2
""",
        """
error: 'steps' in [train] is written twice
  --> r.toml:4:1
   |
 1 | [train]
 2 | steps = 1
   | ----- first here
 4 | steps = 2
   | ^^^^^ again here
""",
    ),
    (
        "a key twice at the top",
        """
name = "a"
name = "b"
""",
        """
error: 'name' is written twice
  --> r.toml:2:1
   |
 1 | name = "a"
   | ---- first here
 2 | name = "b"
   | ^^^^ again here
""",
    ),
    (
        "a key twice in an inline table",
        "x = { a = 1, a = 2 }",
        """
error: 'a' is written twice
  --> r.toml:1:14
   |
 1 | x = { a = 1, a = 2 }
   |       - first here
   |              ^ again here
""",
    ),
    (
        "a table twice",
        """
[data]
use = "x"
[train]
batch = 1
[data]
size = 3
""",
        """
error: [data] is written twice
  --> r.toml:5:1
   |
 1 | [data]
   |  ---- first here
 5 | [data]
   | ^^^^^^ again here
""",
    ),
    (
        "a table over a value",
        """
[losses]
a = 1
[losses.a]
weight = 1
""",
        """
error: [losses.a] is written twice
  --> r.toml:3:1
   |
 1 | [losses]
 2 | a = 1
   | - first here
 3 | [losses.a]
   | ^^^^^^^^^^ again here
""",
    ),
    (
        "more for an inline table",
        """
noise = { dim = 3 }
noise.distribution = "normal"
""",
        """
error: 'noise.distribution' cannot be added to 'noise', which is complete where it is written
  --> r.toml:2:1
   |
 1 | noise = { dim = 3 }
   | ----- here
 2 | noise.distribution = "normal"
   | ^^^^^^^^^^^^^^^^^^ write it there
""",
    ),
    (
        "a word without quotes",
        "use = dcgan # a network",
        """
error: text needs quotes
  --> r.toml:1:7
   |
 1 | use = dcgan # a network
   |       ^^^^^ write "dcgan"
""",
    ),
    (
        "words without quotes",
        "use = dcgan on mnist",
        """
error: text needs quotes
  --> r.toml:1:7
   |
 1 | use = dcgan on mnist
   |       ^^^^^^^^^^^^^^ write "dcgan on mnist"
""",
    ),
    (
        "a path without quotes",
        r"""
root = data/horse2zebra
other = C:\data
""",
        r"""
error: text needs quotes
  --> r.toml:1:8
   |
 1 | root = data/horse2zebra
   |        ^^^^^^^^^^^^^^^^ write "data/horse2zebra"

error: text needs quotes
  --> r.toml:2:9
   |
 2 | other = C:\data
   |         ^^^^^^^ write 'C:\data'
""",
    ),
    (
        "words without quotes in a list",
        "from = [noise, label]",
        """
error: text needs quotes
  --> r.toml:1:9
   |
 1 | from = [noise, label]
   |         ^^^^^ write "noise"
""",
    ),
    (
        "Python's True, False and None",
        """
flip = True
labels = False
size = None
""",
        """
error: True is not a value of TOML
  --> r.toml:1:8
   |
 1 | flip = True
   |        ^^^^ write true

error: False is not a value of TOML
  --> r.toml:2:10
   |
 2 | labels = False
   |          ^^^^^ write false

error: None is not a value of TOML
  --> r.toml:3:8
   |
 3 | size = None
   |        ^^^^ TOML has no None: leave the line out
""",
    ),
    (
        "yes and null",
        """
flip = yes
size = null
""",
        """
error: yes is not a value of TOML
  --> r.toml:1:8
   |
 1 | flip = yes
   |        ^^^ write true

error: null is not a value of TOML
  --> r.toml:2:8
   |
 2 | size = null
   |        ^^^^ TOML has no null: leave the line out
""",
    ),
    (
        "curly quotes",
        """
use = “dcgan”
name = ‘a’
""",
        """
error: “ is not a quotation mark of TOML
  --> r.toml:1:7
   |
 1 | use = “dcgan”
   |       ^^^^^^^ write "dcgan"

error: ‘ is not a quotation mark of TOML
  --> r.toml:2:8
   |
 2 | name = ‘a’
   |        ^^^ write "a"
""",
    ),
    (
        "a curly quote that closes nothing",
        'use = "dcgan”',
        """
error: this text does not end
  --> r.toml:1:7
   |
 1 | use = "dcgan”
   |       ^^^^^^^ close it with "
""",
    ),
    (
        "a key in curly quotes",
        '“use” = "dcgan"',
        """
error: “ is not a quotation mark of TOML
  --> r.toml:1:1
   |
 1 | “use” = "dcgan"
   | ^^^^^ write "use"
""",
    ),
    (
        "no =",
        """
recipe 1
steps
""",
        """
error: every line is [table] or key = value
  --> r.toml:1:1
   |
 1 | recipe 1
   | ^^^^^^^^ write recipe = 1

error: every line is [table] or key = value
  --> r.toml:2:1
   |
 2 | steps
   | ^^^^^
""",
    ),
    (
        "YAML",
        """
recipe: 1
name: "x"
""",
        """
error: every line is [table] or key = value
  --> r.toml:1:1
   |
 1 | recipe: 1
   | ^^^^^^^^^ write recipe = 1

error: every line is [table] or key = value
  --> r.toml:2:1
   |
 2 | name: "x"
   | ^^^^^^^^^ write name = "x"
""",
    ),
    (
        "no value",
        """
use =
name = # later
""",
        """
error: 'use' has no value
  --> r.toml:1:5
   |
 1 | use =
   |     ^ write a value after it

error: 'name' has no value
  --> r.toml:2:6
   |
 2 | name = # later
   |      ^ write a value after it
""",
    ),
    (
        "no key",
        "= 3",
        """
error: every line is [table] or key = value
  --> r.toml:1:1
   |
 1 | = 3
   | ^^^
""",
    ),
    (
        "a key with a space",
        "batch size = 64",
        """
error: batch size cannot be a key as it is
  --> r.toml:1:1
   |
 1 | batch size = 64
   | ^^^^^^^^^^ write batch_size
""",
    ),
    (
        "a key that is not ASCII",
        "größe = 3",
        """
error: größe cannot be a key as it is
  --> r.toml:1:1
   |
 1 | größe = 3
   | ^^^^^ write "größe"
""",
    ),
    (
        "a header that is not closed",
        """
[data
x = 1
""",
        """
error: the header of a table ends with ]
  --> r.toml:1:1
   |
 1 | [data
   | ^^^^^ write [data]
""",
    ),
    (
        "half a header of a list",
        "[[data]",
        """
error: the header of a table ends with ]]
  --> r.toml:1:1
   |
 1 | [[data]
   | ^^^^^^^ write [data]
""",
    ),
    (
        "a header with a space",
        """
[generators horse]
x = 1
""",
        """
error: the names of a table are joined by dots
  --> r.toml:1:1
   |
 1 | [generators horse]
   | ^^^^^^^^^^^^^^^^^^ write [generators.horse]
""",
    ),
    (
        "a header without a name",
        "[]",
        """
error: a table without a name
  --> r.toml:1:1
   |
 1 | []
   | ^^ write [NAME]
""",
    ),
    (
        "a header and a key on one line",
        "[data] size = 1",
        """
error: a table's keys begin on the line below its header
  --> r.toml:1:8
   |
 1 | [data] size = 1
   |        ^^^^^^^^ move it to a new line
""",
    ),
    (
        "a list that is not closed",
        """
betas = [0.5, 0.999
lr = 1
[noise]
dim = 4
""",
        """
error: the list does not end
  --> r.toml:1:9
   |
 1 | betas = [0.5, 0.999
   |         ^^^^^^^^^^^ close it with ]
""",
    ),
    (
        "a list without a comma",
        """
a = [1 2]
b = [
  0.5
  0.9
]
c = 0
""",
        """
error: a comma is missing in [ ... ]
  --> r.toml:1:8
   |
 1 | a = [1 2]
   |        ^ before this

error: a comma is missing in [ ... ]
  --> r.toml:4:3
   |
 4 |   0.9
   |   ^ before this
""",
    ),
    (
        "a list with a hole",
        "a = [1,,2]",
        """
error: a value is missing before ,
  --> r.toml:1:8
   |
 1 | a = [1,,2]
   |        ^
""",
    ),
    (
        "a string that is not closed",
        """
use = "dcgan
steps = 1
""",
        """
error: this text does not end
  --> r.toml:1:7
   |
 1 | use = "dcgan
   |       ^^^^^^ close it with "
""",
    ),
    (
        "a literal string that is not closed",
        """
use = 'dcgan
steps = 1
""",
        """
error: this text does not end
  --> r.toml:1:7
   |
 1 | use = 'dcgan
   |       ^^^^^^ close it with '
""",
    ),
    (
        "a multi-line string that is not closed",
        '''
use = """dcgan
steps = 1
[noise]
''',
        '''
error: the text that begins with """ does not end
  --> r.toml:1:7
   |
 1 | use = """dcgan
   |       ^^^ no """ after it
''',
    ),
    (
        "an apostrophe in a literal string",
        r"""name = 'it's'""",
        """
error: the text ends before this
  --> r.toml:1:12
   |
 1 | name = 'it's'
   |            ^^ a quotation mark too many?
""",
    ),
    (
        "commas and semicolons",
        """
lr = 2e-4, # small
batch = 3;
slope = 0,2
""",
        """
error: no , at the end of a line
  --> r.toml:1:10
   |
 1 | lr = 2e-4, # small
   |          ^ delete it

error: no ; at the end of a line
  --> r.toml:2:10
   |
 2 | batch = 3;
   |          ^ delete it

error: not a number of TOML
  --> r.toml:3:10
   |
 3 | slope = 0,2
   |          ^^ write 0.2
""",
    ),
    (
        "numbers of other languages",
        """
a = .5
b = 5.
c = 007
d = 10k
e = 1,000
f = 64x64
g = 1__0
h = 2e-4f
""",
        """
error: not a number of TOML
  --> r.toml:1:5
   |
 1 | a = .5
   |     ^^ write 0.5

error: not a number of TOML
  --> r.toml:2:5
   |
 2 | b = 5.
   |     ^^ write 5.0

error: not a number of TOML
  --> r.toml:3:5
   |
 3 | c = 007
   |     ^^^ write 7

error: not a number of TOML
  --> r.toml:4:5
   |
 4 | d = 10k
   |     ^^^ write 10_000

error: not a number of TOML
  --> r.toml:5:5
   |
 5 | e = 1,000
   |     ^^^^^ write 1_000

error: not a number of TOML
  --> r.toml:6:5
   |
 6 | f = 64x64
   |     ^^^^^ write [64, 64], or "64x64" if it is text

error: not a number of TOML
  --> r.toml:7:5
   |
 7 | g = 1__0
   |     ^^^^ write 10

error: not a number of TOML
  --> r.toml:8:5
   |
 8 | h = 2e-4f
   |     ^^^^^ write 2e-4
""",
    ),
    (
        "two keys on a line",
        "lr = 1e-4 eps = 1e-8",
        """
error: one key = value on a line
  --> r.toml:1:11
   |
 1 | lr = 1e-4 eps = 1e-8
   |           ^^^^^^^^^^ move it to a new line
""",
    ),
    (
        "comments of other languages",
        """
x = 1 // one
// two
; three
y = 2
""",
        """
error: a comment begins with #
  --> r.toml:1:7
   |
 1 | x = 1 // one
   |       ^^^^^^ write #

error: a comment begins with #
  --> r.toml:2:1
   |
 2 | // two
   | ^^^^^^ write # before it

error: a comment begins with #
  --> r.toml:3:1
   |
 3 | ; three
   | ^^^^^^^ write # before it
""",
    ),
    (
        "invisible characters",
        'x\xa0= 1\ny = "\x01"',
        """
error: an invisible character: no-break space (U+00A0)
  --> r.toml:1:2
   |
 1 | x = 1
   |  ^ delete it, or type a space

error: an invisible character: a control character (U+0001)
  --> r.toml:2:6
   |
 2 | y = "␁"
   |      ^ delete it, or type a space
""",
    ),
    (
        "a date that does not exist",
        "x = 1979-13-01",
        """
error: there is no such date or time
  --> r.toml:1:5
   |
 1 | x = 1979-13-01
   |     ^^^^^^^^^^
""",
    ),
    (
        "thousands of digits",
        "x = " + "9" * 5000,
        """
error: a number of thousands of digits
  --> r.toml:1:5
   |
 1 | x = 99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999…
   |     ^
""",
    ),
    (
        "lists without end",
        "x = " + "[" * 3000,
        """
error: more than 32 values within values
  --> r.toml:1:1
   |
 1 | x = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
   | ^
""",
    ),
    (
        "many tables within tables",
        ".".join("abcdefghij" * 5) + " = 1",
        """
error: more than 32 tables within tables
  --> r.toml:1:63
   |
 1 | ….g.h.i.j.a.b.c.d.e.f.g.h.i.j.a.b.c.d.e.f.g.h.i.j.a.b.c.d.e.f.g.h.i.j = 1
   |                                 ^
""",
    ),
    (
        "several errors",
        """
recipe = 1

[train]
steps = ten
batch = 64

[noise
dim = 100
[optimizer]
lr = 1e-4 betas = [1, 2]
[noise]
x = 1
""",
        """
error: text needs quotes
  --> r.toml:4:9
   |
 3 | [train]
 4 | steps = ten
   |         ^^^ write "ten"

error: the header of a table ends with ]
  --> r.toml:7:1
   |
 7 | [noise
   | ^^^^^^ write [noise]

error: one key = value on a line
  --> r.toml:10:11
   |
 9 | [optimizer]
10 | lr = 1e-4 betas = [1, 2]
   |           ^^^^^^^^^^^^^^ move it to a new line
""",
    ),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [pytest.param(text, message, id=mistake) for mistake, text, message in CATALOGUE],
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(text, message):
    text = text.removeprefix("\n").removesuffix("\n") if text.startswith("\n") else text
    assert told(text) == message.strip("\n")


def test_an_error_behind_a_broken_statement_is_found_too_and_nothing_is_told_twice():
    text = 'a = .5\nb = [1,\n  2\n  3]\nc = {\n x = 1 }\n"d = 1\n[e\nf == 1\n'
    lines = [line for line in told(text).split("\n") if line.startswith("  -->")]
    assert lines == [
        f"  --> r.toml:{place}" for place in ("1:5", "4:3", "5:5", "7:1", "8:1", "9:4")
    ]


@pytest.mark.parametrize(
    "line", ["x = .5 # “half”", 'x = .5 # "half', "x = 'say “hi”' y", 'x = "a\\"“b" y']
)
def test_quotation_marks_in_texts_and_comments_are_no_error(line):
    assert "“ is not" not in told(line)
    assert "does not end" not in told(line)


def test_at_most_twenty_errors_are_told():
    assert told("x\n" * 50).count("error:") == 20


def test_line_ends_of_windows_do_not_move_places():
    assert told("[train]\r\nsteps = ten\r\n") == told("[train]\nsteps = ten\n")


def test_a_byte_order_mark_does_not_move_places():
    assert told("\ufeffsteps = ten") == told("steps = ten")


def test_columns_count_characters_not_bytes():
    assert "r.toml:1:13" in told('x = ["äöü", ten]')
