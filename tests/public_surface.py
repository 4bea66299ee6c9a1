"""What others rely on, as lines of text, and the file that remembers it.

    python tests/public_surface.py

writes tests/public_surface.txt anew, once CHANGELOG.md says what changed.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
REMEMBERED = Path(__file__).with_suffix(".txt")
MODULES = (
    "ganforge",
    "ganforge.plugin",
    "ganforge.images",
    "ganforge.archives",
    "ganforge.testing",
)


def surface() -> list[str]:
    """Public names with their signatures, what losses may ask, keys of recipes, and commands."""
    lines = set()
    for module in MODULES:
        lines |= set(_of_module(module))
    lines |= set(_of_recipes()) | set(_of_components()) | set(_of_commands())
    return sorted(lines)


def _of_module(name: str) -> Iterator[str]:
    module = import_module(name)
    for word in getattr(module, "__all__", None) or _defined(module):
        yield from _of_value(f"{name}.{word}", getattr(module, word))


def _defined(module: object) -> list[str]:
    own = vars(module).items()
    return [n for n, v in own if n[0] != "_" and getattr(v, "__module__", "") == module.__name__]


def _of_value(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"class {name}"
        yield from (f"field {name}.{f.name}" for f in _fields(value))
        for word, member in vars(value).items():
            if word.startswith("_"):
                continue
            if inspect.isfunction(member) or isinstance(member, (classmethod, property)):
                yield f"member {name}.{word}{_signature(getattr(value, word))}"
    elif callable(value):
        yield f"function {name}{_signature(value)}"
    else:
        yield f"value {name}"


def _fields(cls: type) -> tuple[attrs.Attribute, ...]:
    return attrs.fields(cls) if attrs.has(cls) else ()


def _signature(value: object) -> str:
    """Names of parameters, and which have defaults; types may grow wider."""
    if isinstance(value, property):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return "(...)"
    shown = (p.name + ("=" if p.default is not p.empty else "") for p in parameters)
    return f"({', '.join(shown)})"


def _of_recipes() -> Iterator[str]:
    from ganforge.interfaces import settings
    from ganforge.interfaces.hook_events import TrainingSpecs
    from ganforge.interfaces.vocabulary import VOCABULARY
    from ganforge.recipes.grammar import DATA_KEYS, RESERVED

    yield from (f"vocabulary {name}" for name in VOCABULARY)
    for table, keys in {"data": DATA_KEYS, **RESERVED}.items():
        yield from (f"key {table}.{key}" for key in keys)
    for cls in (settings.TrainSettings, settings.PhaseSettings, settings.NoiseSettings):
        yield from (f"key {cls.__name__}.{field.name}" for field in attrs.fields(cls))
    for name in (*settings.OPTIMIZERS, *settings.SCHEDULES):
        yield f"optimizer or schedule {name}"
    for name, moment in vars(TrainingSpecs).items():
        if not name.startswith("_"):
            yield f"moment {name}{_signature(moment)}"


def _of_components() -> Iterator[str]:
    from ganforge.recipes.typed_options import option_rows
    from ganforge.registry.registry import Registry

    for component in Registry.load(only=()).components:
        name = f"{component.kind}/{component.name}"
        yield f"component {name}"
        for row in option_rows(component.options):
            yield f"option {name} {row.name} = {row.default_text or 'required'}"


def _of_commands() -> Iterator[str]:
    import click

    from ganforge.cli.main import COMMANDS

    for name, (target, _) in COMMANDS.items():
        module, _, word = target.partition(":")
        command = getattr(import_module(module), word)
        inside = command.commands if isinstance(command, click.Group) else {"": command}
        for below, one in inside.items():
            for parameter in one.params:
                shown = max(parameter.opts, key=len)
                yield f"command {name}{' ' + below if below else ''} {shown}"


def changelog() -> str:
    """A fingerprint of CHANGELOG.md."""
    return hashlib.blake2b((ROOT / "CHANGELOG.md").read_bytes(), digest_size=8).hexdigest()


def remembered() -> tuple[str, list[str]]:
    """(fingerprint of the changelog when the surface was last written, its lines)"""
    head, *lines = REMEMBERED.read_text(encoding="utf-8").splitlines()
    return head.rpartition(" ")[2], lines


def main() -> None:
    before, lines = remembered() if REMEMBERED.exists() else ("", [])
    now = surface()
    if now == lines:
        return
    if before == changelog():
        sys.exit("the public surface changed: say in CHANGELOG.md what, then run this again")
    text = "\n".join([f"# CHANGELOG.md had the fingerprint {changelog()}", *now]) + "\n"
    REMEMBERED.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
