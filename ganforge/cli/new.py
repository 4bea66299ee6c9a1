"""`ganforge new plugin NAME --kind KIND`, `ganforge new recipe FILE`: working starting points."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from ganforge import __version__
from ganforge.cli.options import with_registry
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import KINDS, Component
from ganforge.registry.registry import Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.group()
def command() -> None:
    """Write a plugin, or a recipe, that works as it is: a place to start from."""


# --- a plugin -------------------------------------------------------------------------------------

# What the recipe of each kind's package plays with; `$name` stands for the new component.
_GAME = {
    "data": 'use = "painted-horses"',
    "generator": 'use = "dcgan"\nwidth = 16\nto = "horse"\nema = 0.99',
    "discriminator": 'use = "dcgan"\nwidth = 16\non = "horse"',
    "loss": "non-saturating",
    "more": "",
}
_PLAYS: Mapping[str, Mapping[str, str]] = {
    "generator": {"generator": 'use = "$name"\nto = "horse"\nema = 0.99'},
    "discriminator": {"discriminator": 'use = "$name"\non = "horse"'},
    "loss": {"loss": "$name"},
    "augmentor": {"more": "\n[augmentors.$name]\n"},
    "hook": {"more": "\n[hooks.$name]\n"},
    "dataset": {
        "data": 'use = "$name"',
        "generator": 'use = "dcgan"\nwidth = 16\nema = 0.99',
        "discriminator": 'use = "dcgan"\nwidth = 16',
    },
    "metric": {"more": "\n[metrics.$name]\n"},
}


@command.command("plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="what it offers")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="folder to write; unset: NAME below the current one",
)
@with_registry
def plugin(registry: Registry, name: str, kind: str, out: Path | None) -> None:
    """Write a package with one component, its recipe and its tests.

    NAME is the distribution's and the component's, such as acme-hinge.
    """
    _check_name(registry, name, kind)
    folder = out or Path(name)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise GanforgeError(f"{folder} already exists; choose another place with `--out DIR`")
    written = dict(_package(name, kind))
    try:
        for place, text in written.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise GanforgeError(f"cannot write {folder}: {error.strerror or error}") from error
    click.echo(f"{folder}: a plugin with {_article(kind)} {kind}, {len(written)} files\n")
    for line, what in (
        (f"cd {folder}", ""),
        ('pip install -e ".[test]"', "now `ganforge list` has it"),
        (f"ganforge check --plugin {name}", f"what every {kind} must satisfy"),
        (f"ganforge run {name}", "the recipe that comes with it"),
        ("pytest", "the same checks, and your own test"),
    ):
        click.echo(f"  {line:<36}{click.style(what, dim=True)}".rstrip())


def _check_name(registry: Registry, name: str, kind: str) -> None:
    if not _NAME.fullmatch(name):
        raise GanforgeError(
            f"'{name}' is not a plugin name: use lower-case words joined by `-`, such as acme-hinge"
        )
    if name.replace("-", "_") in ("ganforge", "torch", "torchvision"):
        raise GanforgeError(f"'{name}' is the name of another package; choose one of your own")
    for component in registry.of(kind):
        if name in (component.name, *component.aliases):
            raise GanforgeError(
                f"there is already a {kind} '{name}' (from {component.provider}); choose another "
                f"name, such as my-{name}"
            )


def _package(name: str, kind: str) -> Iterator[tuple[str, str]]:
    """(path below the package's folder, content)"""
    package = name.replace("-", "_")
    values = {
        "name": name,
        "package": package,
        "kind": kind,
        "module": kind,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "version": __version__,
        "article": _article(kind),
        "article_capital": _article(kind).capitalize(),
        "what": _text(kind, "what.txt").strip(),
    }
    values["test"] = Template(_text(kind, "test.txt")).substitute(values).strip() + "\n"
    game = {**_GAME, **_PLAYS[kind]}
    values |= {key: Template(text).substitute(values) for key, text in game.items()}
    source = f"src/{package}"
    for place, folder, file in (
        ("pyproject.toml", "plugin", "pyproject.toml.txt"),
        ("README.md", "plugin", "README.md.txt"),
        (".gitignore", "plugin", "gitignore.txt"),
        (".github/workflows/test.yml", "plugin", "workflow.yml.txt"),
        (f"{source}/plugin.py", kind, "plugin.py.txt"),
        (f"{source}/{kind}.py", kind, "component.py.txt"),
        (f"{source}/recipes/{package}.toml", "plugin", "recipe.toml.txt"),
        (f"tests/test_{package}.py", "plugin", "test.py.txt"),
    ):
        yield place, Template(_text(folder, file)).substitute(values).rstrip() + "\n"
    yield f"{source}/__init__.py", ""


def _text(folder: str, name: str) -> str:
    template = files("ganforge.cli").joinpath("templates", folder, name)
    return template.read_text(encoding="utf-8")


def _article(kind: str) -> str:
    return "an" if kind == "augmentor" else "a"


# --- a recipe -------------------------------------------------------------------------------------


@command.command("recipe")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    metavar="RECIPE",
    default="dcgan-mnist",
    show_default=True,
    help="a shipped recipe, or a path",
)
@with_registry
def recipe(registry: Registry, file: Path, source: str) -> None:
    """Write a recipe to start from: another one, with the options it leaves alone as comments."""
    from ganforge.planning.compose import compose
    from ganforge.recipes.grammar import slug
    from ganforge.recipes.recipe import load

    if file.suffix != ".toml":
        raise GanforgeError(f"{file}: a recipe's file ends in .toml")
    if file.exists():
        raise GanforgeError(f"{file} already exists")
    loaded = load(source, shipped=registry.recipes())
    if loaded.problems:
        compose(loaded, registry)  # which tells them
    text = _annotated(loaded.text, registry)
    name = slug(file.stem) or "recipe"
    text = re.sub(r'(?m)^name = ".*"', f'name = "{name}"', text, count=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise GanforgeError(f"cannot write {file}: {error.strerror or error}") from error
    click.echo(f"{file}, from {source}; options that it leaves alone are comments in it\n")
    click.echo(f"  ganforge check {file}")
    click.echo(f"  ganforge run {file} --preview" if loaded.has_preview else "")


def _annotated(text: str, registry: Registry) -> str:
    """A recipe's text with the unset options of each component below its table's keys."""
    import tomllib

    lines = text.splitlines()
    tables = tomllib.loads(text)
    after: dict[int, list[str]] = {}
    for start, header in enumerate(lines):
        match = re.fullmatch(r"\[([\w.-]+)\]\s*(#.*)?", header)
        component = match and _component(match[1], tables, registry)
        if not match or component is None:
            continue
        end = next(
            (n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines)
        )
        while end > start + 1 and not re.match(r"\s*[\w\"'\]}]", lines[end - 1]):
            end -= 1  # blank lines and comments belong to what follows
        after[end] = list(_unset(component, _table(match[1], tables)))
    annotated = []
    for number, line in enumerate(lines):
        annotated += [*after.get(number, ()), line]
    return "\n".join([*annotated, *after.get(len(lines), ())]) + "\n"


def _table(path: str, tables: Mapping[str, object]) -> Mapping[str, object]:
    found: object = tables
    for part in path.split("."):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _component(path: str, tables: Mapping[str, object], registry: Registry) -> Component | None:
    """The component of a table such as `generator` or `losses.adversarial`."""
    from ganforge.recipes.grammar import KIND

    head, _, name = path.partition(".")
    kind = {"data": "dataset", **{kind: kind for kind in KIND.values()}, **KIND}.get(head)
    use = _table(path, tables).get("use", name)
    if kind is None or not isinstance(use, str) or not use:
        return None
    try:
        return registry.find(kind, use)
    except GanforgeError:
        return None


def _unset(component: Component, written: Mapping[str, object]) -> Iterator[str]:
    """A comment line for each option that a table leaves alone."""
    from ganforge.recipes.typed_options import option_rows

    rows = [row for row in option_rows(component.options) if row.name not in written]
    settings = [
        f"{row.name} = {'...' if row.default_text in ('', 'unset') else row.default_text}"
        for row in rows
    ]
    width = max((len(setting) for setting in settings), default=0)
    for row, setting in zip(rows, settings, strict=True):
        yield f"# {setting:<{width}}  # {row.help}"
