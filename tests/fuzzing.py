"""Broken input by the thousand: texts and bytes changed at random, each from a seed.

A mutation is a function of (what, dice), so that a case is told by its seed and can be made again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

TOKENS = (
    *("=", "[", "]", "[[", "]]", "{", "}", '"', "'", '"""', "'''", ",", ".", "#", "\\", "\n", "\r"),
    *(
        "\t",
        " ",
        "\0",
        "\x1b[31m",
        "\ufeff",
        "\u202e",
        "é",
        "🦓",
        "\ud7ff",
        "__class__",
        "../",
        "/",
        "~",
    ),
    *(
        "-",
        "_",
        "+",
        "0",
        "-1",
        "1e999",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "9" * 25,
        "0x_",
        "1_",
        "1__0",
    ),
    *("true", "false", "1979-05-27", "07:32:00", "0b1", "0o9", "use", "like", "on", "off", "from"),
    *(
        "[preview]",
        "[train]",
        "[data]",
        "recipe = 1",
        "extends = ",
        "steps",
        "weight",
        "generators.",
    ),
)
VALUES = (
    *(
        "true",
        "false",
        "0",
        "1",
        "-1",
        "2",
        "3",
        "0.5",
        "1e-9",
        "1e308",
        "nan",
        "inf",
        "-inf",
        "9" * 25,
    ),
    *('""', '"x"', '"noise"', '"image"', '"label"', '"generators.main"', '"discriminators.main"'),
    *('"mlp"', '"dcgan"', '"began"', '"adam"', '"main"', '"cuda:99"', '"\\u0000"', '"../../etc"'),
    *("[]", "[1]", "[28, 28]", '["noise", "label"]', "[[1]]", "[true, 1]", "{}", "{ use = 1 }"),
    *('{ use = "mlp" }', "{ normal = 0.02 }", '{ run = "nowhere" }', "1979-05-27", "07:32:00"),
    *("{ discriminator = 0.5, generator = 1 }", "[0.5, 0.999]", "'''\n'''", "1_000", "0x10"),
)
_ASSIGNED = re.compile(r"^(\s*[\w.-]+\s*=\s*)(.*)$")
_HEADING = re.compile(r"^\s*\[+([\w.-]+)\]+")


# ---------------------------------------------------------------- texts


def bytes_changed(content: bytes, dice: random.Random) -> bytes:
    """A few bytes flipped, removed, doubled, moved or put in."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        place = dice.randrange(len(changed) + 1)
        length = dice.choice((1, 1, 2, 5, 40))
        what = dice.randrange(6)
        if what == 0 and place < len(changed):
            changed[place] ^= 1 << dice.randrange(8)
        elif what == 1:
            del changed[place : place + length]
        elif what == 2:
            changed[place:place] = changed[place : place + length]
        elif what == 3:
            other = dice.randrange(len(changed) + 1)
            changed[place:place] = changed[other : other + length]
        elif what == 4:
            changed[place:place] = dice.choice(TOKENS).encode("utf-8", "surrogatepass")
        else:
            changed[place:place] = dice.randbytes(length)
    return bytes(changed)


def lines_changed(text: str, dice: random.Random) -> str:
    """Values replaced, lines removed, doubled and moved between tables."""
    lines = text.splitlines()
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        if not lines:
            break
        number = dice.randrange(len(lines))
        what = dice.randrange(7)
        assigned = _ASSIGNED.match(lines[number])
        if what <= 2 and assigned:
            lines[number] = assigned[1] + dice.choice(VALUES)
        elif what == 3:
            del lines[number]
        elif what == 4:
            lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
        elif what == 5 and assigned:
            key = dice.choice([m[1] for line in lines if (m := _ASSIGNED.match(line))])
            lines[number] = key + assigned[2]
        else:
            lines[number] = _letters_swapped(lines[number], dice)
    return "\n".join(lines) + "\n"


def _letters_swapped(line: str, dice: random.Random) -> str:
    if len(line) < 2:
        return line
    place = dice.randrange(len(line) - 1)
    return line[:place] + line[place + 1] + line[place] + line[place + 2 :]


def recipes_crossed(text: str, other: str, dice: random.Random) -> str:
    """Some tables of one recipe replaced by those of another, and a table renamed."""
    tables, others = _tables(text), _tables(other)
    for name in dice.sample(sorted(others), min(len(others), dice.choice((1, 2, 3)))):
        tables[name] = others[name]
    if dice.random() < 0.3:
        gone = dice.choice(sorted(tables))
        del tables[gone]
    return "\n".join(tables.values()) + "\n"


def _tables(text: str) -> dict[str, str]:
    """Heading -> the lines of its table; "" is what comes before the first."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in text.splitlines():
        heading = _HEADING.match(line)
        if heading:
            name = heading[1]
        found.setdefault(name, []).append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


# ---------------------------------------------------------------- composed from the registry


def composed(components: dict[str, list[tuple[str, list[str]]]], dice: random.Random) -> str:
    """A recipe of random components with random options. components: kind -> (name, options)."""
    lines = ["recipe = 1", f'name = "{dice.choice(("a", "b-c", "d_e"))}"', "", "[data]"]
    lines += _component(components["dataset"], dice)
    lines += ["", "[train]", f"steps = {dice.choice(('1', '10', '0', '-1', VALUES[0]))}"]
    lines += _maybe(dice, "batch", "discriminator_steps", "accumulate", "seed", "epochs")
    for table, kind in _TABLES:
        for number in range(dice.choice((0, 1, 1, 1, 2, 3))):
            name = dice.choice(("main", "other", "third", f"n{number}"))
            lines += ["", f"[{table}.{name}]"]
            lines += _component(components[kind], dice)
            lines += _maybe(dice, *_RESERVED[table])
    return "\n".join(lines) + "\n"


_TABLES = (
    ("generators", "generator"),
    ("discriminators", "discriminator"),
    ("losses", "loss"),
    ("augmentors", "augmentor"),
    ("hooks", "hook"),
    ("metrics", "metric"),
)
_RESERVED = {
    "generators": ("from", "to", "ema", "freeze", "init", "optimizer", "like"),
    "discriminators": ("on", "given", "freeze", "clip", "schedule", "like"),
    "losses": ("weight", "on", "every", "start", "stop", "like"),
    "augmentors": ("on", "every"),
    "hooks": ("every",),
    "metrics": (),
}


def _component(known: list[tuple[str, list[str]]], dice: random.Random) -> list[str]:
    name, options = dice.choice(known)
    chosen = dice.sample(options, min(len(options), dice.choice((0, 0, 1, 2))))
    return [f'use = "{name}"', *(f"{option} = {dice.choice(VALUES)}" for option in chosen)]


def _maybe(dice: random.Random, *keys: str) -> list[str]:
    return [f"{key} = {dice.choice(VALUES)}" for key in keys if dice.random() < 0.15]


# ---------------------------------------------------------------- files


def file_changed(content: bytes, dice: random.Random) -> bytes:
    """A file cut off, with bytes changed, or with a part overwritten by zeros or by chance."""
    if not content or dice.random() < 0.1:
        return dice.randbytes(dice.choice((0, 1, 8, 200)))
    what = dice.randrange(5)
    if what == 0:
        return content[: dice.randrange(len(content))]
    if what == 1:
        start = dice.randrange(len(content))
        length = dice.choice((1, 4, 100))
        filled = dice.choice((b"\0", b"\xff")) * length
        return content[:start] + filled + content[start + length :]
    if what == 2:
        changed = bytearray(content)
        for _ in range(dice.choice((1, 3, 30))):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        return bytes(changed)
    if what == 3:  # headers are where most can go wrong
        start = dice.randrange(min(len(content), 64))
        return content[:start] + dice.randbytes(4) + content[start + 4 :]
    return bytes_changed(content, dice)


Mutation = Callable[[bytes, random.Random], bytes]
