"""Every way to write an option wrong, with the whole message; and options there and back."""

import math
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.settings import TrainSettings
from ganforge.plugin import ImageOptions, Impossible, Ref, option, options
from ganforge.recipes.document import parse
from ganforge.recipes.problems import Problem, render
from ganforge.recipes.source import Source
from ganforge.recipes.toml_tables import toml_text
from ganforge.recipes.typed_options import OptionRow, option_rows, structure, unstructure

VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text("a1/\n", max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.just("a"), inside),
    max_leaves=4,
)
FOLDER = Path("/recipes").absolute()


@options
class Options:
    width: int = option(64, at_least=1, help="channels of the first layer")
    slope: float = option(0.2, at_least=0, below=1, help="slope below zero")
    flip: bool = option(False, help="mirror half of them")
    title: str = option("x", help="what it is called")
    root: Path | None = option(None, help="folder of the images")
    mode: Literal["finite", "sobel"] = option("finite", help="how it is computed")
    size: int | tuple[int, int] | None = option(None, at_least=1, help="pixels")
    betas: tuple[float, float] = option((0.5, 0.999), at_least=0, below=1, help="moments")
    scales: tuple[int, ...] = option((1, 2), at_least=1, help="scales")
    names: list[str] = option([], help="names of layers")
    domains: dict[str, str] = option({}, help="domain to folder")
    extra: dict[str, Any] = option({}, help="passed on")
    twin: Ref | None = option(None, help="network that it mirrors")
    start: Literal["auto"] | float = option("auto", help="when to start")


def read(text: str, cls: type = Options, owner: str = "loss 'cycle'", **more: Any):
    """The options in a text, and what is printed about it."""
    problems: list[Problem] = []
    table = parse(Source("r.toml", text, FOLDER))
    made = structure(table, cls, owner=owner, problems=problems, **more)
    assert (made is None) == bool(problems)
    return made, render(problems).rpartition("\n\n")[0]


def test_options_of_every_type():
    made, _ = read(
        """
        width = 32
        slope = 0
        flip = true
        title = "a"
        root = "data/faces"
        mode = "sobel"
        size = [48, 80]
        betas = [0, 0.9]
        scales = [4]
        names = ["a", "b"]
        domains = { horse = "trainA" }
        extra.deep.value = [1, { a = 2 }]
        twin = "discriminators.main"
        start = 3
        """
    )
    assert made == Options(
        width=32,
        slope=0.0,
        flip=True,
        title="a",
        root=FOLDER / "data/faces",
        mode="sobel",
        size=(48, 80),
        betas=(0.0, 0.9),
        scales=(4,),
        names=["a", "b"],
        domains={"horse": "trainA"},
        extra={"deep": {"value": [1, {"a": 2}]}},
        twin=Ref("discriminators.main"),
        start=3.0,
    )
    assert [type(value) for value in (made.slope, made.twin, made.betas[0])] == [float, Ref, float]


def test_what_is_not_written_has_its_default():
    assert read("")[0] == Options()


def test_a_single_size_stands_for_a_square():
    assert read("size = 64")[0].size == 64


def test_paths_are_relative_to_the_recipe_but_not_absolute_or_home_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    absolute = tmp_path / "b"
    assert read('root = "../a"')[0].root == FOLDER / "../a"
    assert read(f"root = '{absolute}'")[0].root == absolute
    assert read('root = "~/c"')[0].root == tmp_path / "c"


def test_keys_to_skip_are_left_to_others():
    assert read("width = 8\nuse = 3", skip=("use",))[0].width == 8


CATALOGUE = [
    (
        "wdith = 3",
        """
error: loss 'cycle' has no option 'wdith'
  --> r.toml:1:1
   |
 1 | wdith = 3
   | ^^^^^ did you mean 'width'?
   = options: width = 64, slope = 0.2, flip = false, title = "x", root = unset, mode = "finite",
       size = unset, betas = [0.5, 0.999], scales = [1, 2], names = [], domains = {}, extra = {},
       twin = unset, start = "auto"
   = also: use, weight
   = from ganforge 0.1.0; see `ganforge show loss/cycle`
""",
    ),
    (
        "use_flip = true",
        """
error: loss 'cycle' has no option 'use_flip'
  --> r.toml:1:1
   |
 1 | use_flip = true
   | ^^^^^^^^ did you mean 'flip'?
   = options: width = 64, slope = 0.2, flip = false, title = "x", root = unset, mode = "finite",
       size = unset, betas = [0.5, 0.999], scales = [1, 2], names = [], domains = {}, extra = {},
       twin = unset, start = "auto"
""",
    ),
    (
        "image_size = 64",
        """
error: loss 'cycle' has no option 'image_size'
  --> r.toml:1:1
   |
 1 | image_size = 64
   | ^^^^^^^^^^ did you mean 'data.size'?
   = options: width = 64, slope = 0.2, flip = false, title = "x", root = unset, mode = "finite",
       size = unset, betas = [0.5, 0.999], scales = [1, 2], names = [], domains = {}, extra = {},
       twin = unset, start = "auto"
""",
    ),
    (
        "lr = 0.1",
        """
error: loss 'cycle' has no option 'lr'
  --> r.toml:1:1
   |
 1 | lr = 0.1
   | ^^ did you mean 'optimizer.lr'?
   = options: width = 64, slope = 0.2, flip = false, title = "x", root = unset, mode = "finite",
       size = unset, betas = [0.5, 0.999], scales = [1, 2], names = [], domains = {}, extra = {},
       twin = unset, start = "auto"
""",
    ),
    (
        'name = "x"',
        """
error: loss 'cycle' has no option 'name'
  --> r.toml:1:1
   |
 1 | name = "x"
   | ^^^^
   = in TOML, every line below a [table] belongs to it: move 'name' to the top of the file
   = options: width = 64, slope = 0.2, flip = false, title = "x", root = unset, mode = "finite",
       size = unset, betas = [0.5, 0.999], scales = [1, 2], names = [], domains = {}, extra = {},
       twin = unset, start = "auto"
""",
    ),
    (
        "width = 1e3",
        """
error: loss 'cycle': 'width' must be a whole number, not 1e3
  --> r.toml:1:9
   |
 1 | width = 1e3
   |         ^^^ write 1000
   = width: channels of the first layer (default 64)
""",
    ),
    (
        "width = 1.5",
        """
error: loss 'cycle': 'width' must be a whole number, not 1.5
  --> r.toml:1:9
   |
 1 | width = 1.5
   |         ^^^
   = width: channels of the first layer (default 64)
""",
    ),
    (
        'width = "64"',
        """
error: loss 'cycle': 'width' must be a whole number, not "64"
  --> r.toml:1:9
   |
 1 | width = "64"
   |         ^^^^ write 64, without quotes
   = width: channels of the first layer (default 64)
""",
    ),
    (
        "width = true",
        """
error: loss 'cycle': 'width' must be a whole number, not true
  --> r.toml:1:9
   |
 1 | width = true
   |         ^^^^
   = width: channels of the first layer (default 64)
""",
    ),
    (
        "width = 0",
        """
error: loss 'cycle': 'width' must be at least 1, not 0
  --> r.toml:1:9
   |
 1 | width = 0
   |         ^
   = width: channels of the first layer (default 64)
""",
    ),
    (
        "width = 9223372036854775808",
        """
error: loss 'cycle': 'width' is too large: whole numbers have 64 bits
  --> r.toml:1:9
   |
 1 | width = 9223372036854775808
   |         ^^^^^^^^^^^^^^^^^^^
   = width: channels of the first layer (default 64)
""",
    ),
    (
        'slope = "0.1"',
        """
error: loss 'cycle': 'slope' must be a number, not "0.1"
  --> r.toml:1:9
   |
 1 | slope = "0.1"
   |         ^^^^^ write 0.1, without quotes
   = slope: slope below zero (default 0.2)
""",
    ),
    (
        "slope = 1",
        """
error: loss 'cycle': 'slope' must be at least 0 and below 1, not 1
  --> r.toml:1:9
   |
 1 | slope = 1
   |         ^
   = slope: slope below zero (default 0.2)
""",
    ),
    (
        "slope = -0.1",
        """
error: loss 'cycle': 'slope' must be at least 0 and below 1, not -0.1
  --> r.toml:1:9
   |
 1 | slope = -0.1
   |         ^^^^
   = slope: slope below zero (default 0.2)
""",
    ),
    (
        "slope = nan",
        """
error: loss 'cycle': 'slope' must be finite, not nan
  --> r.toml:1:9
   |
 1 | slope = nan
   |         ^^^
   = slope: slope below zero (default 0.2)
""",
    ),
    (
        "slope = 1e999",
        """
error: loss 'cycle': 'slope' must be finite, not inf
  --> r.toml:1:9
   |
 1 | slope = 1e999
   |         ^^^^^
   = slope: slope below zero (default 0.2)
""",
    ),
    (
        "flip = 1",
        """
error: loss 'cycle': 'flip' must be true or false, not 1
  --> r.toml:1:8
   |
 1 | flip = 1
   |        ^ write true
   = flip: mirror half of them (default false)
""",
    ),
    (
        'flip = "True"',
        """
error: loss 'cycle': 'flip' must be true or false, not "True"
  --> r.toml:1:8
   |
 1 | flip = "True"
   |        ^^^^^^ write true
   = flip: mirror half of them (default false)
""",
    ),
    (
        'flip = "maybe"',
        """
error: loss 'cycle': 'flip' must be true or false, not "maybe"
  --> r.toml:1:8
   |
 1 | flip = "maybe"
   |        ^^^^^^^
   = flip: mirror half of them (default false)
""",
    ),
    (
        "title = 3",
        """
error: loss 'cycle': 'title' must be text, not 3
  --> r.toml:1:9
   |
 1 | title = 3
   |         ^ write "3"
   = title: what it is called (default "x")
""",
    ),
    (
        'title = ["a"]',
        """
error: loss 'cycle': 'title' must be text, not a list
  --> r.toml:1:9
   |
 1 | title = ["a"]
   |         ^^^^^
   = title: what it is called (default "x")
""",
    ),
    (
        'root = ""',
        """
error: loss 'cycle': 'root' must be a path, not ""
  --> r.toml:1:8
   |
 1 | root = ""
   |        ^^
   = root: folder of the images
""",
    ),
    (
        "root = 3",
        """
error: loss 'cycle': 'root' must be a path, not 3
  --> r.toml:1:8
   |
 1 | root = 3
   |        ^ write "3"
   = root: folder of the images
""",
    ),
    (
        r'root = "data\train"',
        r"""
error: loss 'cycle': 'root' is a path with a control character in it
  --> r.toml:1:8
   |
 1 | root = "data\train"
   |        ^^^^^^^^^^^^ write 'data\train' or "data/train"
   = in "..." a backslash begins an escape: \t is a tab, \n a new line
   = root: folder of the images
""",
    ),
    (
        'mode = "sobl"',
        """
error: loss 'cycle': 'mode' cannot be "sobl"
  --> r.toml:1:8
   |
 1 | mode = "sobl"
   |        ^^^^^^ did you mean "sobel"?
   = allowed: "finite", "sobel"
   = mode: how it is computed (default "finite")
""",
    ),
    (
        "mode = 3",
        """
error: loss 'cycle': 'mode' cannot be 3
  --> r.toml:1:8
   |
 1 | mode = 3
   |        ^
   = allowed: "finite", "sobel"
   = mode: how it is computed (default "finite")
""",
    ),
    (
        "size = 1.0",
        """
error: loss 'cycle': 'size' must be a whole number or a list of 2 whole numbers, not 1.0
  --> r.toml:1:8
   |
 1 | size = 1.0
   |        ^^^ write 1
   = size: pixels
""",
    ),
    (
        "size = [64]",
        """
error: loss 'cycle': 'size' must be a list of 2 whole numbers; this has 1
  --> r.toml:1:8
   |
 1 | size = [64]
   |        ^^^^
   = size: pixels
""",
    ),
    (
        'size = [64, "a"]',
        """
error: loss 'cycle': 'size' must be a list of 2 whole numbers; item 2 is "a"
  --> r.toml:1:13
   |
 1 | size = [64, "a"]
   |             ^^^
   = size: pixels
""",
    ),
    (
        "size = [64, 0]",
        """
error: loss 'cycle': 'size' item 2 must be at least 1, not 0
  --> r.toml:1:13
   |
 1 | size = [64, 0]
   |             ^
   = size: pixels
""",
    ),
    (
        "size = 0",
        """
error: loss 'cycle': 'size' must be at least 1, not 0
  --> r.toml:1:8
   |
 1 | size = 0
   |        ^
   = size: pixels
""",
    ),
    (
        "size = { width = 3 }",
        """
error: loss 'cycle': 'size' must be a whole number or a list of 2 whole numbers, not a table
  --> r.toml:1:8
   |
 1 | size = { width = 3 }
   |        ^^^^^^^^^^^^^
   = size: pixels
""",
    ),
    (
        "betas = 0.5",
        """
error: loss 'cycle': 'betas' must be a list of 2 numbers, not 0.5
  --> r.toml:1:9
   |
 1 | betas = 0.5
   |         ^^^
   = betas: moments (default [0.5, 0.999])
""",
    ),
    (
        "betas = [0.5, 1.0]",
        """
error: loss 'cycle': 'betas' item 2 must be at least 0 and below 1, not 1.0
  --> r.toml:1:15
   |
 1 | betas = [0.5, 1.0]
   |               ^^^
   = betas: moments (default [0.5, 0.999])
""",
    ),
    (
        "scales = 2",
        """
error: loss 'cycle': 'scales' must be a list of whole numbers, not 2
  --> r.toml:1:10
   |
 1 | scales = 2
   |          ^ write [2]
   = scales: scales (default [1, 2])
""",
    ),
    (
        """
scales = []
names = "a"
""",
        """
error: loss 'cycle': 'names' must be a list of texts, not "a"
  --> r.toml:2:9
   |
 2 | names = "a"
   |         ^^^ write ["a"]
   = names: names of layers (default [])
""",
    ),
    (
        "names = [1]",
        """
error: loss 'cycle': 'names' must be a list of texts; item 1 is 1
  --> r.toml:1:10
   |
 1 | names = [1]
   |          ^ write "1"
   = names: names of layers (default [])
""",
    ),
    (
        'domains = "a"',
        """
error: loss 'cycle': 'domains' must be a table, not "a"
  --> r.toml:1:11
   |
 1 | domains = "a"
   |           ^^^
   = domains: domain to folder (default {})
""",
    ),
    (
        "domains = { horse = 1 }",
        """
error: loss 'cycle': 'domains.horse' must be text, not 1
  --> r.toml:1:21
   |
 1 | domains = { horse = 1 }
   |                     ^ write "1"
   = domains: domain to folder (default {})
""",
    ),
    (
        'domains = ["a"]',
        """
error: loss 'cycle': 'domains' must be a table, not a list
  --> r.toml:1:11
   |
 1 | domains = ["a"]
   |           ^^^^^
   = domains: domain to folder (default {})
""",
    ),
    (
        "extra = 1",
        """
error: loss 'cycle': 'extra' must be a table, not 1
  --> r.toml:1:9
   |
 1 | extra = 1
   |         ^
   = extra: passed on (default {})
""",
    ),
    (
        "twin = 3",
        """
error: loss 'cycle': 'twin' must be the name of a network, not 3
  --> r.toml:1:8
   |
 1 | twin = 3
   |        ^
   = twin: network that it mirrors
""",
    ),
    (
        'twin = ""',
        """
error: loss 'cycle': 'twin' must be the name of a network, not ""
  --> r.toml:1:8
   |
 1 | twin = ""
   |        ^^
   = twin: network that it mirrors
""",
    ),
    (
        'start = "later"',
        """
error: loss 'cycle': 'start' must be "auto" or a number, not "later"
  --> r.toml:1:9
   |
 1 | start = "later"
   |         ^^^^^^^
   = start: when to start (default "auto")
""",
    ),
    (
        "start = []",
        """
error: loss 'cycle': 'start' must be "auto" or a number, not a list
  --> r.toml:1:9
   |
 1 | start = []
   |         ^^
   = start: when to start (default "auto")
""",
    ),
    (
        "flip = 1979-05-27",
        """
error: loss 'cycle': 'flip' must be true or false, not a date or time
  --> r.toml:1:8
   |
 1 | flip = 1979-05-27
   |        ^^^^^^^^^^
   = flip: mirror half of them (default false)
""",
    ),
    (
        "flip = { a = 1 }",
        """
error: loss 'cycle': 'flip' must be true or false, not a table
  --> r.toml:1:8
   |
 1 | flip = { a = 1 }
   |        ^^^^^^^^^
   = flip: mirror half of them (default false)
""",
    ),
    (
        """
wdith = 1
flip = 0
[domains]
horse = 1
zebra = "b"
""",
        """
error: loss 'cycle' has no option 'wdith'
  --> r.toml:1:1
   |
 1 | wdith = 1
   | ^^^^^ did you mean 'width'?
   = options: width = 64, slope = 0.2, flip = false, title = "x", root = unset, mode = "finite",
       size = unset, betas = [0.5, 0.999], scales = [1, 2], names = [], domains = {}, extra = {},
       twin = unset, start = "auto"

error: loss 'cycle': 'flip' must be true or false, not 0
  --> r.toml:2:8
   |
 2 | flip = 0
   |        ^ write false
   = flip: mirror half of them (default false)

error: loss 'cycle': 'domains.horse' must be text, not 1
  --> r.toml:4:9
   |
 3 | [domains]
 4 | horse = 1
   |         ^ write "1"
   = domains: domain to folder (default {})
""",
    ),
]


@pytest.mark.parametrize(
    ("text", "message"), CATALOGUE, ids=[text.strip() for text, _ in CATALOGUE]
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(text, message):
    more = {"skip": ("use", "weight"), "provider": "ganforge 0.1.0; see `ganforge show loss/cycle`"}
    _, told = read(text.strip("\n"), **(more if text == "wdith = 3" else {}))
    assert told == message.strip("\n")


@options
class Needy:
    network: Ref = option(help="network that is copied")
    every: int = option(10, help="steps between copies")


def test_a_missing_option_is_told_at_the_header_of_its_table():
    problems: list[Problem] = []
    table = parse(Source("r.toml", '[hooks.sync]\nuse = "weight-sync"\n', FOLDER))
    sync = table.get("hooks").get("sync")
    made = structure(
        sync, Needy, owner="hook 'sync'", problems=problems, skip={"use"}, provider="acme 2.0"
    )
    assert made is None
    assert render(problems) == (
        """\
error: hook 'sync' needs 'network'
  --> r.toml:1:1
   |
 1 | [hooks.sync]
   | ^^^^^^^^^^^^ add `network = ...`, the name of a network
   = network: network that is copied
   = from acme 2.0

1 error; nothing was built."""
    )


def test_a_component_without_options_says_so():
    empty = options(type("Empty", (), {}))
    _, told = read("width = 3", empty, "hook 'progress'")
    assert "   = it has no options of its own" in told


def test_words_of_other_frameworks_and_of_other_tables_lead_to_ours():
    def label(text: str, owner: str, cls: type = TrainSettings) -> str:
        return next(line for line in read(text, cls, owner)[1].split("\n") if "^" in line).split(
            "^ "
        )[1]

    assert label("n_critic = 5", "[train]") == "did you mean 'discriminator_steps'?"
    assert label("batch-size = 5", "[train]") == "did you mean 'batch'?"
    assert label("discriminator-steps = 5", "[train]") == "did you mean 'discriminator_steps'?"
    assert label("z_dim = 5", "generator 'dcgan'", Needy) == "did you mean 'noise.dim'?"
    assert label("batch = 5", "[data]", ImageOptions) == "did you mean 'train.batch'?"
    assert label("img_size = 5", "[data]", ImageOptions) == "did you mean 'size'?"
    assert label("interval = 5", "hook 'sync'", Needy) == "did you mean 'every'?"


def test_a_number_from_the_command_line_where_text_is_needed_tells_about_the_shell():
    problems: list[Problem] = []
    table = parse(Source("--set", "data.title=2024", FOLDER)).get("data")
    assert structure(table, Options, owner="[data]", problems=problems) is None
    assert render(problems).startswith(
        """\
error: [data]: 'title' must be text, not 2024
  --> --set
   |
   | data.title=2024
   |            ^^^^ write "2024"
   = in a shell, quotes need quotes: --set 'data.title="2024"'
"""
    )


def test_an_options_class_may_refuse_in_its_own_words():
    @options
    class Picky:
        low: float = option(0.0, help="least")
        high: float = option(1.0, help="most")

        def __attrs_post_init__(self):
            if self.low >= self.high:
                raise Impossible(
                    f"low ({self.low:g}) must be below high ({self.high:g})", key="low"
                )

    _, told = read("high = 2\nlow = 3", Picky)
    assert told.split("\n")[:2] == [
        "error: loss 'cycle': low (3) must be below high (2)",
        "  --> r.toml:2:7",
    ]


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (complex, "option 'x' of .*Odd has the type .*complex.*: no recipe can hold it"),
        (list[bytes], "option 'x' of .*Odd has the type .*bytes.*: no recipe can hold it"),
        (
            "Nowhere",
            "options of .*Odd have a type that is not known: name 'Nowhere' is not defined",
        ),
    ],
)
def test_a_type_that_no_recipe_can_hold_is_its_author_s_mistake(hint, message):
    odd = type("Odd", (), {"__annotations__": {"x": hint}, "x": option(None, help="odd")})
    with pytest.raises(PluginError, match=message):
        structure(parse(Source("r.toml", "", FOLDER)), options(odd), owner="hook", problems=[])


def test_the_rows_that_show_prints():
    rows = {row.name: row for row in option_rows(Options)}
    assert rows["slope"] == OptionRow(
        name="slope",
        type_text="number",
        default_text="0.2",
        required=False,
        bounds_text="at least 0 and below 1",
        help="slope below zero",
    )
    assert {name: row.type_text for name, row in rows.items()} == {
        "width": "integer",
        "slope": "number",
        "flip": "boolean",
        "title": "string",
        "root": "path",
        "mode": '"finite" | "sobel"',
        "size": "integer | [integer, integer]",
        "betas": "[number, number]",
        "scales": "[integer, ...]",
        "names": "[string, ...]",
        "domains": "{ name = string }",
        "extra": "{ name = anything }",
        "twin": "network",
        "start": '"auto" | number',
    }
    assert {name: row.default_text for name, row in rows.items()} == {
        "width": "64",
        "slope": "0.2",
        "flip": "false",
        "title": '"x"',
        "root": "unset",
        "mode": '"finite"',
        "size": "unset",
        "betas": "[0.5, 0.999]",
        "scales": "[1, 2]",
        "names": "[]",
        "domains": "{}",
        "extra": "{}",
        "twin": "unset",
        "start": '"auto"',
    }
    needed = option_rows(Needy)[0]
    assert (needed.required, needed.default_text, needed.type_text) == (True, "", "network")


def test_options_go_to_toml_and_come_back():
    made = Options(
        root=Path("a") / "b",
        size=(3, 4),
        twin=Ref("generators.main"),
        domains={"horse": "x"},
        extra={"deep": (1, None, {"a": None, "b": Path("c")})},
    )
    plain = unstructure(made)
    assert plain["root"] == "a/b"
    assert (plain["size"], plain["betas"]) == ([3, 4], [0.5, 0.999])
    assert type(plain["twin"]) is str
    assert plain["extra"] == {"deep": [1, {"b": "c"}]}
    assert "flip" in plain and not {key for key, value in plain.items() if value is None}
    back = attrs.evolve(made, root=FOLDER / "a/b", extra={"deep": [1, {"b": "c"}]})
    text = "\n".join(f"{key} = {toml_text(value)}" for key, value in plain.items())
    assert read(text)[0] == back


@given(st.sampled_from(sorted(option.name for option in option_rows(Options))), VALUES)
def test_no_value_whatever_raises(name, value):
    made, told = read(f"{name} = {toml_text(value)}")
    assert (made is None) == told.startswith(f"error: loss 'cycle': '{name}")
    if made is not None:
        numbers = [made.width, made.slope, *made.betas, *made.scales]
        assert all(math.isfinite(number) for number in numbers)
