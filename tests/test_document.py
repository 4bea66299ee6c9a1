"""Positions: they agree with tomllib about what is in a text, and lead to where it is written."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganforge.recipes.document import parse, read
from ganforge.recipes.problems import RecipeError
from ganforge.recipes.source import Source, written
from ganforge.recipes.toml_tables import Entry, Table, item_span, toml_text


def parsed(text: str) -> Table:
    return parse(Source("r.toml", text, Path()))


def places(table: Table, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Path -> what is written at the place of its key and of its value, with line and column."""
    found = {}
    for entry in table:
        key, value = entry.key_span, entry.value_span
        found[prefix + entry.key] = (
            f"{key.line}:{key.column} {written(key)}",
            f"{value.line}:{value.column} {written(value)}",
        )
        if isinstance(entry.value, Table):
            found |= places(entry.value, f"{prefix}{entry.key}.")
    return found


def test_keys_and_values_know_their_places():
    text = "[train]\nsteps = 10_000 # many\n\n[optimizer]\nbetas = [0.5, 0.999]\n"
    assert places(parsed(text)) == {
        "train": ("1:2 train", "1:1 [train]"),
        "train.steps": ("2:1 steps", "2:9 10_000"),
        "optimizer": ("4:2 optimizer", "4:1 [optimizer]"),
        "optimizer.betas": ("5:1 betas", "5:9 [0.5, 0.999]"),
    }


def test_dotted_and_quoted_keys():
    assert places(parsed('a . "b c".\'d\' = 1\n[e."f\\u00e9"]\nx = 2\n')) == {
        "a": ("1:1 a", "1:1 a . \"b c\".'d'"),
        "a.b c": ('1:5 "b c"', "1:1 a . \"b c\".'d'"),
        "a.b c.d": ("1:11 'd'", "1:17 1"),
        "e": ("2:2 e", '2:1 [e."f\\u00e9"]'),
        "e.fé": ('2:4 "f\\u00e9"', '2:1 [e."f\\u00e9"]'),
        "e.fé.x": ("3:1 x", "3:5 2"),
    }


def test_inline_tables_are_tables_and_tables_in_lists_are_plain():
    table = parsed('init = { normal = 0.02, run.name = "x" }\nlist = [1, { a = 2 }]')
    assert places(table) == {
        "init": ("1:1 init", '1:8 { normal = 0.02, run.name = "x" }'),
        "init.normal": ("1:10 normal", "1:19 0.02"),
        "init.run": ("1:25 run", "1:25 run.name"),
        "init.run.name": ("1:29 name", '1:36 "x"'),
        "list": ("2:1 list", "2:8 [1, { a = 2 }]"),
    }
    assert table.get("list") == [1, {"a": 2}]
    assert table.get("init").span == table.entry("init").value_span


def test_a_table_that_is_first_implied_and_then_written_is_where_its_header_is():
    found = places(parsed("[a.b]\nx = 1\n[a]\ny = 2\n[[list]]\nz = 3\n[[list]]\n[list.sub]\nw = 4"))
    assert found["a"] == ("3:2 a", "3:1 [a]")
    assert found["a.b.x"] == ("2:1 x", "2:5 1")
    assert found["list"] == ("5:3 list", "5:1 [[list]]")


def test_columns_count_characters_and_windows_line_ends_and_the_mark_of_utf8_count_nothing():
    text = '\ufeff# é\r\n"ü" = "ß" # ö\r\nx = { "ä" = 1, y = 2 }\r\nz = 3'
    assert places(parsed(text)) == {
        "ü": ('2:1 "ü"', '2:7 "ß"'),
        "x": ("3:1 x", '3:5 { "ä" = 1, y = 2 }'),
        "x.ä": ('3:7 "ä"', "3:13 1"),
        "x.y": ("3:16 y", "3:20 2"),
        "z": ("4:1 z", "4:5 3"),
    }


def test_values_over_several_lines_are_where_they_begin():
    found = places(parsed('a = """\nx\ny"""\nb = [ # c\n 1,\n 2\n]\nd = 4'))
    assert found["a"][1] == '1:5 """'
    assert found["b"][1] == "4:5 [ # c"
    assert found["d"] == ("8:1 d", "8:5 4")


def test_the_items_of_a_list_have_places():
    entry = parsed('a = 1\nb = [ # "x"\n  "ä", [2], # c\n  { d = 3 },\n]').entry("b")
    assert [written(item_span(entry, n)) for n in range(3)] == ['"ä"', "[2]", "{ d = 3 }"]
    assert item_span(entry, 3) == entry.value_span


def test_plain_is_what_tomllib_reads():
    text = "a.b = 1\n[c]\nd = { e = [1, { f = 2 }] }\n[[g]]\nh = 1979-05-27\n"
    assert parsed(text).plain() == tomllib.loads(text)


def test_an_empty_text_is_an_empty_table():
    assert parsed("").plain() == {}
    assert parsed("# only this\n").span.line == 1


# --- files ----------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        read(path, path.name)
    return str(caught.value)


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_told_in_one_line(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes('recipe = 1\nname = "é"'.encode("latin-1"))
    (tmp_path / "wide.toml").write_bytes("recipe = 1".encode("utf-16"))
    (tmp_path / "big.toml").write_bytes(b"#" * 1_000_001)
    told = {
        name: refusal(tmp_path / f"{name}.toml")
        for name in ("no", "folder", "latin", "wide", "big")
    }
    assert told == {
        "no": "there is no file no.toml",
        "folder": "folder.toml is a folder; a recipe is a TOML file",
        "latin": "latin.toml is not UTF-8 text: byte 0xe9 in line 2; save it as UTF-8",
        "wide": "wide.toml is UTF-16 text; save it as UTF-8",
        "big": "big.toml is larger than 1 MB; a recipe has a few hundred lines. The right file?",
    }


def test_a_name_that_no_file_can_have_is_told_in_one_line():
    assert refusal(Path("a\0b")).startswith("a\0b cannot be read: ")
    assert "cannot be read" in refusal(Path("a" * 5000))


def test_a_source_knows_its_folder_whole(tmp_path, monkeypatch):
    (tmp_path / "r.toml").write_text("recipe = 1", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    source = read(Path("r.toml"))
    assert (source.name, source.folder) == ("r.toml", tmp_path)


# --- any document ---------------------------------------------------------------------------------

_KEYS = st.text("abz019_-", min_size=1, max_size=4) | st.text("aü .\"'\\\t#=[]", max_size=4)
_SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text("aß\n\t\\\"'#]}\u2028\U0001f40e", max_size=6)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_KEYS, inside, max_size=3),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML in the many ways it can be written: headers, dotted keys, inline tables, comments."""
    lines: list[str] = []

    def key(name: str) -> str:
        plain = name and all(c in "abz019_-" for c in name)
        return name if plain and draw(st.booleans()) else toml_text(name)

    def noise() -> str:
        return draw(st.sampled_from(["", "  ", "\t", " # ü\t= [", " #"]))

    def pairs(table: dict, prefix: str) -> dict:
        later = {}
        for name, value in table.items():
            if isinstance(value, dict) and draw(st.booleans()):
                later[name] = value
            elif isinstance(value, dict) and value and draw(st.booleans()):
                left = pairs(value, f"{prefix}{key(name)} . ")
                assert all(isinstance(inner, dict) for inner in left.values())
                for inner, deeper in left.items():
                    lines.append(f"{prefix}{key(name)}.{key(inner)} = {inline(deeper)}{noise()}")
            else:
                indent = draw(st.sampled_from(["", " ", "\t"]))
                lines.append(f"{indent}{prefix}{key(name)} = {inline(value)}{noise()}")
        return later

    def inline(value: object) -> str:
        if isinstance(value, dict):
            inside = ", ".join(f"{key(name)}={inline(item)}" for name, item in value.items())
            return f"{{ {inside} }}"
        if isinstance(value, list):
            gap = draw(st.sampled_from(["", " ", "\n", " # x\n\t"]))
            return f"[{gap}{f',{gap}'.join(inline(item) for item in value)}{gap}]"
        return toml_text(value).replace("\x7f", "\\u007f")

    def tables(table: dict, header: str) -> None:
        if header:
            lines.append(f"[{header}]{noise()}")
        for name, value in pairs(table, "").items():
            tables(value, f"{header}.{key(name)}" if header else key(name))

    tables(draw(st.dictionaries(_KEYS, _VALUES, max_size=5)), "")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


def entries(table: Table) -> list[Entry]:
    inside = [entry for _, below in table.tables() for entry in entries(below)]
    return [*table, *inside]


@given(documents())
def test_places_agree_with_tomllib(text):
    """A key's place holds the key, and a value's place the value, for everything tomllib reads."""
    table = parsed(text)
    assert table.plain() == tomllib.loads(text.replace("\r\n", "\n"))
    for entry in entries(table):
        assert list(tomllib.loads(f"{written(entry.key_span)} = 0")) == [entry.key]
        if not isinstance(entry.value, (Table, list)):
            assert tomllib.loads(f"x = {written(entry.value_span)}") == {"x": entry.value}
        elif isinstance(entry.value, list):
            assert written(entry.value_span).startswith("[")
            for index, item in enumerate(entry.value):
                if not isinstance(item, (list, dict)):
                    assert tomllib.loads(f"x = {written(item_span(entry, index))}") == {"x": item}
