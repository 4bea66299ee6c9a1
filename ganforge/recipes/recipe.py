"""Recipes: found, read, and laid over one another until one table says what is played.

The layers in their order: the recipe that is extended, the recipe, `[preview]`, `--set`; then
`like` is filled in and what is `off` is removed. Every entry keeps the place it came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from ganforge.recipes.document import parse, read
from ganforge.recipes.grammar import (
    DATA_KEYS,
    KIND,
    NETWORK_KEYS,
    RESERVED,
    SINGULAR,
    VERSION,
    Layer,
    checked,
    slug,
)
from ganforge.recipes.problems import SET, Problem, RecipeError
from ganforge.recipes.source import Source, Span
from ganforge.recipes.suggestions import nearest
from ganforge.recipes.toml_tables import Entry, Table

# Hooks that need no table.
ALWAYS_ON = ("progress", "metrics", "checkpoint", "samples", "collapse-alarm")

_USUAL = {"optimizer": "adam", "schedule": "constant"}  # the component where no `use` is written


@frozen
class Recipe:
    """One recipe with all its layers applied.

    table: canonical names only (`generators`, `discriminators`); `extends`, `preview`, `like` and
    `off` are gone. removed: table -> name -> the entry that turned it off. problems: what is wrong
    as far as that is known without components.
    """

    path: Path
    name: str
    text: str = field(repr=False)
    table: Table = field(repr=False)
    problems: tuple[Problem, ...]
    has_preview: bool
    preview: bool
    removed: Mapping[str, Mapping[str, Entry]] = field(factory=dict)


def load(
    path: Path | str,
    *,
    preview: bool = False,
    sets: Sequence[str] = (),
    shipped: Mapping[str, Path] = {},
) -> Recipe:
    """A recipe with its layers. Mistakes are in its `problems`; only what cannot be read raises.

    path: a file, or the name of a shipped recipe. sets: `--set` arguments, KEY=VALUE.
    Raises RecipeError for a file that is missing, unreadable or not TOML, its parents included.
    """
    problems: list[Problem] = []
    file = _find(path, shipped)
    source = _read(file, str(path) if file == Path(path) else str(file), shipped)
    try:
        table, previews = _document(source, [file], shipped, problems)
    except RecipeError as error:
        raise RecipeError([*problems, *error.problems]) from None
    if preview and not previews:
        note = "add a table [preview] with what should be smaller, such as train.steps = 300"
        problems.append(Problem(f"{source.name} has no [preview]", None, [note]))
    for layer in previews if preview else ():
        table = merge(table, _marked(layer))
    for argument in sets:
        if (given := _set(argument, problems)) is not None:
            table = merge(table, _addressed(given, table, problems, "--set"))
    name = table.entry("name")
    _fill_like(table, problems)
    return Recipe(
        path=file,
        name=name.value if name else slug(file.stem) or "recipe",
        text=source.text,
        table=table,
        problems=tuple(problems),
        has_preview=bool(previews),
        preview=preview and bool(previews),
        removed=_remove_off(table),
    )


def origin(entry: Entry) -> str:
    """Where an entry was written: `dcgan_mnist.toml:12`, `[preview] line 30`, `--set`."""
    span = entry.key_span
    if span.source.name == SET:
        return SET
    file = Path(span.source.name).name
    if not entry.preview:
        return f"{file}:{span.line}"
    where = f"[preview] line {span.line}"
    return f"{file} {where}" if span.source.extended_at else where


# --- files ----------------------------------------------------------------------------------------


def _read(
    file: Path, name: str, shipped: Mapping[str, Path], extended_at: Span | None = None
) -> Source:
    """A recipe's text. The data of a shipped recipe lies below the current folder, not beside it:
    nobody wants photographs among the installed packages."""
    source = read(file, name, extended_at)
    ships = any(_same_file(file, other) for other in shipped.values())
    return evolve(source, folder=Path.cwd()) if ships else source


def _find(
    name: Path | str,
    shipped: Mapping[str, Path],
    folder: Path | None = None,
    at: Span | None = None,
) -> Path:
    """The file of a recipe: a path (relative to `folder`) that exists, else a shipped recipe."""
    path = folder / name if folder else Path(name)
    known = {_plain(other): other for other in shipped}
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 (never raise)
        return path
    plain = _plain(str(name))
    if plain in known:
        return shipped[known[plain]]
    if os.path.isdir(path):  # noqa: PTH112 (never raises)
        inside = [file for file in ("resolved.toml", "recipe.toml") if (path / file).is_file()]
        notes = [f"it is the folder of a run: its recipe is {path / inside[0]}"] if inside else []
        raise RecipeError([Problem(f"{name} is a folder; a recipe is a TOML file", at, notes)])
    near = nearest(Path(str(name)).stem, shipped)
    notes = [
        "no file and no shipped recipe has that name; `ganforge list recipes` lists the shipped "
        "ones"
    ]
    notes = [f"similar: {', '.join(near)}", *notes] if near else notes
    raise RecipeError([Problem(f"there is no recipe {name}", at, notes)])


def _plain(name: str) -> str:
    return name.removesuffix(".toml").replace("_", "-")


def _document(
    source: Source, chain: list[Path], shipped: Mapping[str, Path], problems: list[Problem]
) -> tuple[Table, list[Table]]:
    """One recipe over those that it extends, and the previews of all of them, in order."""
    raw = parse(source)
    _check_version(raw, source, problems)
    own = checked(raw, problems)
    table, previews = Table(own.span), list[Table]()
    if extends := own.entries.pop("extends", None):
        table, previews = _parent(extends, chain, shipped, problems)
    layer = own.entries.pop("preview", None)
    table = merge(table, _addressed(own, table, problems, "recipe"))
    if layer:
        previews.append(_addressed(layer.value, table, problems, "preview"))
    return table, previews


def _parent(
    extends: Entry, chain: list[Path], shipped: Mapping[str, Path], problems: list[Problem]
) -> tuple[Table, list[Table]]:
    at = extends.value_span
    file = _find(extends.value, shipped, chain[-1].parent, at)
    if any(_same_file(file, other) for other in chain):
        circle = " extends ".join(path.name for path in (*chain, file))
        raise RecipeError([Problem(f"recipes extend each other in a circle: {circle}", at)])
    beside = Path(at.source.name).parent / extends.value
    shown = os.path.normpath(beside) if file == chain[-1].parent / extends.value else str(file)
    source = _read(file, shown, shipped, at)
    table, previews = _document(source, [*chain, file], shipped, problems)
    for key in ("name", "lock"):  # they belong to one run, not to what is played
        table.entries.pop(key, None)
    return table, previews


def _same_file(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _check_version(document: Table, source: Source, problems: list[Problem]) -> None:
    entry = document.entry("recipe")
    if entry is None:
        if not {"data", "train", "extends", *SINGULAR, *SINGULAR.values()} & set(document.entries):
            message = f"{source.name} is not a recipe: it has none of a recipe's tables"
            note = "a recipe begins with `recipe = 1`; `ganforge list recipes` lists examples"
            raise RecipeError([Problem(message, source.extended_at, [note])])
        problems.append(_misplaced(document) or _unversioned(document))
    elif type(entry.value) is int and entry.value > VERSION:
        message = (
            f"this recipe has version {entry.value}, but this ganforge reads version {VERSION}"
        )
        note = "`pip install --upgrade ganforge` brings a newer one"
        problems.append(Problem(message, entry.value_span, [note]))
    elif type(entry.value) is not int or entry.value != VERSION:
        problems.append(Problem("'recipe' must be 1", entry.value_span, (), "write 1"))


def _misplaced(document: Table) -> Problem | None:
    """`recipe = 1` below a table belongs to that table, and nobody meant it to."""
    for name, table in document.tables():
        if entry := table.entries.pop("recipe", None):
            return Problem(
                f"'recipe' is below [{name}], so it belongs to [{name}]",
                entry.key_span,
                ["in TOML, every line below a [table] belongs to it"],
                "move it to the first line",
            )
    return None


def _unversioned(document: Table) -> Problem:
    note = "the number is the version of the grammar"
    return Problem("a recipe begins with `recipe = 1`", document.span, [note], "write it above")


# --- layers ---------------------------------------------------------------------------------------


def merge(base: Table, over: Table, path: tuple[str, ...] = ()) -> Table:
    """One layer over another: tables merge, everything else is replaced.

    Where `use` names another component, the old one's options go and the core's keys stay.
    path: where in the recipe the two tables are, such as ("losses", "adversarial").
    """
    entries = dict(base.entries)
    reserved = _reserved(path)
    changed = reserved is not None and "use" in over and not _same_component(base, over, path)
    if changed:
        entries = {key: entry for key, entry in entries.items() if key in (reserved or ())}
    either = _alternatives(path)
    if any(key in over for key in either):
        entries = {key: entry for key, entry in entries.items() if key not in either}
    for entry in over:
        old = entries.get(entry.key)
        if old and isinstance(old.value, Table) and isinstance(entry.value, Table):
            merged = merge(old.value, entry.value, (*path, entry.key))
            lead = entry if merged.span == entry.value.span else old
            entries[entry.key] = evolve(lead, value=merged)
        else:
            entries[entry.key] = entry
    return Table(over.span if changed or not base.entries else base.span, entries)


def _reserved(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The keys that stay when the component of this table changes; None: it has no component."""
    match path:
        case ("data",):
            return DATA_KEYS
        case (kind, _) if kind in RESERVED:
            return RESERVED[kind]
        case ("optimizer",) | ("generators" | "discriminators", _, "optimizer"):
            return ("use", "schedule")
        case (*_, "optimizer", "schedule") | ("generators" | "discriminators", _, "schedule"):
            return ("use",)
    return None


def _alternatives(path: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that say one thing in two ways: a layer that gives one takes the other away."""
    match path:
        case ("train",):
            return ("steps", "epochs")
        case ("train", "phases", _):
            return ("steps", "share")
        case ("generators" | "discriminators", _, "init"):
            return ("normal", "run")
    return ()


def _same_component(base: Table, over: Table, path: tuple[str, ...]) -> bool:
    """Whether the upper `use` names what the lower table is about; an unnamed one is any."""
    old = base.get("use")
    if old is None and "like" in base:
        return False  # what it is like is not known yet, so neither are its options
    if old is None and len(path) == 2 and RESERVED.get(path[0]) not in (NETWORK_KEYS, None):
        old = path[1]
    old, new = old or _USUAL.get(path[-1]), over.get("use")
    if not isinstance(old, str) or not isinstance(new, str):
        return True
    old, new = old.replace("_", "-"), new.replace("_", "-")
    exact = "/" in old and "/" in new
    return old == new if exact else old.rpartition("/")[2] == new.rpartition("/")[2]


def _addressed(over: Table, base: Table, problems: list[Problem], layer: Layer) -> Table:
    """A layer in the names of the table below it: `generator` by the name it has there."""
    over = Table(over.span, dict(over.entries))
    for plural, singular in SINGULAR.items():
        short = over.entries.pop(singular, None)
        if short is None:
            continue
        names = list(_names(base, plural))
        if len(names) > 1 and "main" not in names:
            names_text = ", ".join(f"{plural}.{name}" for name in names)
            message = f"'{singular}' is the only {singular}, but there are {len(names)}"
            problems.append(Problem(message, short.key_span, [f"write one of: {names_text}"]))
            continue
        name = names[0] if len(names) == 1 else "main"
        table = Table(short.value_span, {name: evolve(short, key=name)})
        over.entries[plural] = Entry(plural, short.key_span, table, short.value_span)
    for kind in KIND:
        group = over.get(kind)
        if isinstance(group, Table):
            known = [*_names(base, kind), *_names(over, kind)]
            kept = {e.key: e for e in group if _has_place(e, kind, base, known, problems, layer)}
            over.entries[kind] = evolve(over.entries[kind], value=Table(group.span, kept))
    return over


def _has_place(
    entry: Entry, kind: str, base: Table, known: list[str], problems: list[Problem], layer: Layer
) -> bool:
    """Whether a named table can be laid over what is there, or be something new."""
    names, table = _names(base, kind), entry.value
    if entry.key in names or (kind == "hooks" and entry.key in ALWAYS_ON):
        return True
    off = set(table.entries) == {"off"} and table.get("off") is True
    new = layer == "recipe" or "use" in table or "like" in table
    if not off and (new or not (kind in SINGULAR or _near(entry.key, names))):
        return True
    known = [name for name in dict.fromkeys(known) if name != entry.key]
    close = nearest(entry.key, known)
    note = f"there are: {', '.join(known)}" if known else f"the recipe has no {kind}"
    message = f"there is no {KIND[kind]} '{entry.key}'" + (" to turn off" if off else "")
    label = f"did you mean '{close[0]}'?" if close else ""
    problems.append(Problem(message, entry.key_span, [note], label))
    return False


def _near(word: str, names: Sequence[str]) -> bool:
    """Whether a new name is so near an old one that it must be a slip of the pen."""
    from difflib import SequenceMatcher

    return any(SequenceMatcher(None, word, name).ratio() > 0.85 for name in names)


def _names(table: Table, kind: str) -> list[str]:
    group = table.get(kind)
    return list(group.entries) if isinstance(group, Table) else []


def _marked(table: Table) -> Table:
    """A copy whose entries know that `[preview]` brought them."""
    marked = Table(table.span)
    for entry in table:
        value = _marked(entry.value) if isinstance(entry.value, Table) else entry.value
        marked.entries[entry.key] = evolve(entry, value=value, preview=True)
    return marked


def _set(argument: str, problems: list[Problem]) -> Table | None:
    """The layer that one `--set KEY=VALUE` is: VALUE in TOML, else plain text."""
    source = Source(SET, argument, Path.cwd())
    key, equals, value = argument.partition("=")
    whole = Span(source, 1, 1, max(len(argument), 1))
    if not equals or not key.strip() or not value.strip():
        what = "has no value" if equals and key.strip() else "takes KEY=VALUE"
        label = "for example train.steps=500"
        problems.append(Problem(f"--set {what}", whole, (), label))
        return None
    try:
        keyed = parse(Source(SET, f"{key}= 0", source.folder))
    except RecipeError:
        span = Span(source, 1, 1, len(key))
        problems.append(Problem(f"'{key.strip()}' is not a key", span, (), "write a.b.c=VALUE"))
        return None
    try:
        table = parse(source)
    except RecipeError as error:
        if value.strip()[0] in "\"'[{":
            problems += error.problems
            return None
        start = len(key) + 2 + len(value) - len(value.lstrip())
        table = _with_text(keyed, value.strip(), Span(source, 1, start, len(value.strip())))
    names = _leaf(keyed)
    if _leaf(table)[: len(names)] != names:
        problems.append(Problem("--set takes one KEY=VALUE", whole, (), "write --set for each"))
        return None
    return checked(table, problems, "--set")


def _leaf(table: Table) -> list[str]:
    """The keys that lead to the only value of a table, as far as there is only one."""
    names: list[str] = []
    value: Any = table
    while isinstance(value, Table) and len(value.entries) == 1:
        entry = next(iter(value))
        names, value = [*names, entry.key], entry.value
    return names


def _with_text(table: Table, text: str, at: Span) -> Table:
    """The table with its only value replaced by this text, its places in the text's source."""

    def moved(span: Span) -> Span:
        return evolve(span, source=at.source)

    made = Table(moved(table.span))
    for entry in table:
        deeper = isinstance(entry.value, Table)
        value = _with_text(entry.value, text, at) if deeper else text
        span = moved(entry.value_span) if deeper else at
        made.entries[entry.key] = Entry(entry.key, moved(entry.key_span), value, span)
    return made


# --- like and off ---------------------------------------------------------------------------------


def _fill_like(table: Table, problems: list[Problem]) -> None:
    """Replace `like = "x"` by the settings of x under its own, in place."""
    for kind in ("generators", "discriminators", "losses"):
        group = table.get(kind)
        if not isinstance(group, Table):
            continue
        filled = {name: _filled(name, kind, group, (), problems) for name in group.entries}
        kept = {
            name: evolve(group.entries[name], value=value)
            for name, value in filled.items()
            if value is not None
        }
        table.entries[kind] = evolve(table.entries[kind], value=Table(group.span, kept))


def _filled(
    name: str, kind: str, group: Table, trail: tuple[str, ...], problems: list[Problem]
) -> Table | None:
    """The table of one name with its `like` filled in; None where that cannot be done."""
    own: Table = group.get(name)
    like = own.entry("like")
    if like is None:
        return own
    members = (*trail, name)
    if like.value not in group:
        if not trail:  # told where it is written, not where others are like it
            problems.append(_unknown_like(like, name, kind, group))
        return None
    if like.value in members:
        if like.value == members[0] == min(members, key=list(group.entries).index):  # told once
            circle = " like ".join((*members, like.value))
            problems.append(Problem(f"'like' goes in a circle: {circle}", like.value_span))
        return None
    other = _filled(like.value, kind, group, members, problems)
    if other is None:
        return None
    entries = {key: entry for key, entry in other.entries.items() if key != "off"}
    if kind == "losses" and "use" not in entries:  # there, the name was the component
        entries["use"] = evolve(like, key="use")
    rest = {key: entry for key, entry in own.entries.items() if key != "like"}
    merged = merge(Table(own.span, entries), Table(own.span, rest), (kind, name))
    return Table(own.span, merged.entries)


def _unknown_like(like: Entry, name: str, kind: str, group: Table) -> Problem:
    names = [other for other in group.entries if other != name]
    close = nearest(like.value.removeprefix(f"{kind}."), names)
    label = f"did you mean '{close[0]}'?" if close else ""
    notes = [f"there are: {', '.join(names)}"] if names else []
    message = f"there is no {KIND[kind]} '{like.value}' that '{name}' could be like"
    return Problem(message, like.value_span, notes, label)


def _remove_off(table: Table) -> dict[str, dict[str, Entry]]:
    """Take out what is turned off; returns table -> name -> the entry that did it."""
    removed: dict[str, dict[str, Entry]] = {}
    for kind in KIND:
        group = table.get(kind)
        if not isinstance(group, Table):
            continue
        kept = {}
        for name, inner in group.tables():
            off = inner.entry("off")
            if off is not None and off.value:
                removed.setdefault(kind, {})[name] = off
            else:
                rest = {key: entry for key, entry in inner.entries.items() if key != "off"}
                kept[name] = evolve(group.entries[name], value=Table(inner.span, rest))
        table.entries[kind] = evolve(table.entries[kind], value=Table(group.span, kept))
    return removed


def as_settings(values: Mapping[str, Any], below: str = "") -> Iterator[str]:
    """`--set` arguments, KEY=VALUE, for each value, also of tables within tables."""
    import tomli_w

    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from as_settings(value, f"{below}{key}.")
        else:
            plain = value.as_posix() if isinstance(value, Path) else value
            yield below + key + tomli_w.dumps({"v": plain}).strip().removeprefix("v")
