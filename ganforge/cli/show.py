"""`ganforge show KIND/NAME` or `show RECIPE`: one component, or a recipe with every default."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ganforge.cli.list_ import RECIPES, as_kind, component_record
from ganforge.cli.options import print_warnings, recipe_options, with_registry
from ganforge.cli.tables import Row, print_tables
from ganforge.interfaces.manifest import KINDS, Component, ImageOptions
from ganforge.interfaces.vocabulary import VOCABULARY, current
from ganforge.recipes.suggestions import nearest
from ganforge.recipes.toml_tables import Table, toml_text
from ganforge.recipes.typed_options import OptionRow, option_rows
from ganforge.registry.parameter_names import loss_needs
from ganforge.registry.registry import NotFound, Registry

if TYPE_CHECKING:
    from ganforge.recipes.recipe import Recipe

# Where a component of each kind stands in a recipe; `{}` is its name.
_HEADERS = {
    "generator": "[generator]",
    "discriminator": "[discriminator]",
    "loss": "[losses.{}]",
    "augmentor": "[augmentors.{}]",
    "hook": "[hooks.{}]",
    "dataset": "[data]",
    "metric": "[metrics.{}]",
}


@click.command()
@click.argument("name")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_registry
def command(
    registry: Registry, name: str, preview: bool, sets: tuple[str, ...], as_json: bool
) -> None:
    """Show a component with its options, or a recipe with every default.

    NAME is KIND/NAME such as loss/least-squares, a NAME that only one component has, a recipe's
    path, or the name of a shipped recipe.
    """
    found = _meant(registry, name)
    if isinstance(found, Component):
        print_warnings(registry)
        if as_json:
            click.echo(json.dumps(_record(found, registry), indent=2))
        else:
            _print_component(found, registry)
        return
    tables, recipe = _resolved(registry, found, preview, sets)
    if as_json:
        click.echo(json.dumps(tables, indent=2))
    else:
        _print_recipe(tables, recipe)


# --- what is meant --------------------------------------------------------------------------------


def _meant(registry: Registry, name: str) -> Component | str:
    """The component, or the recipe's path or name. Raises NotFound."""
    if name.endswith(".toml") or Path(name).is_file():
        return name
    head, _, rest = name.partition("/")
    kind = as_kind(head) if rest else None
    if kind == RECIPES:
        return rest
    if kind is not None:
        return registry.find(kind, rest)
    components = [c for k in KINDS if (c := _of_kind(registry, k, name)) is not None]
    recipes = [r for r in registry.recipes() if r == name.replace("_", "-")]
    if len(components) + len(recipes) == 1:
        return components[0] if components else recipes[0]
    ways = [f"{c.kind}/{registry.short_name(c)}" for c in components]
    ways += [f"recipe/{recipe}" for recipe in recipes]
    if ways:
        raise NotFound(f"'{name}' is the name of several", [f"write one of: {', '.join(ways)}"])
    raise NotFound(f"there is no component or recipe '{name}'", _hints(registry, name))


def _of_kind(registry: Registry, kind: str, name: str) -> Component | None:
    short = name.rpartition("/")[2]
    named = any(short in (c.name, *c.aliases) for c in registry.of(kind))
    try:
        return registry.find(kind, name) if named else None
    except NotFound as error:
        if "/" in name:
            return None  # another distribution has the name
        raise error


def _hints(registry: Registry, name: str) -> list[str]:
    ways = {recipe: recipe for recipe in registry.recipes()}
    for component in registry.components:
        short = registry.short_name(component)
        ways[f"{component.kind}/{short}"] = short
    close = nearest(name, [*ways, *ways.values()])
    shown = dict.fromkeys(way for c in close for way, short in ways.items() if c in (way, short))
    notes = [f"similar: {', '.join(shown)}"] if shown else []
    return [*notes, "`ganforge list` and `ganforge list recipes` show what there is"]


# --- a component ----------------------------------------------------------------------------------


def _record(component: Component, registry: Registry) -> dict[str, Any]:
    rows = option_rows(component.options)
    return {
        **component_record(component, registry),
        "options": [attrs.asdict(row) for row in rows],
        "needs": {side: list(names) for side, names in _needs(component).items()},
        "recipe": snippet(component, registry),
    }


def _needs(component: Component) -> Mapping[str, tuple[str, ...]]:
    return loss_needs(component) if component.kind == "loss" else {}


def _print_component(component: Component, registry: Registry) -> None:
    title = f"{component.kind}/{registry.short_name(component)}"
    click.echo(f"{click.style(title, bold=True)}  from {component.provider} {component.version}")
    if component.summary:
        click.echo(component.summary)
    print_tables([("", list(_about(component)))])
    rows = option_rows(component.options)
    tables: list[tuple[str, Sequence[Row]]] = [
        ("options", [_option(row) for row in rows] or [("none",)])
    ]
    if component.kind == "dataset":
        shared = [_option(row) for row in option_rows(ImageOptions)]
        tables.append(("options of every dataset of images", shared))
    for side, names in _needs(component).items():
        asked = [(name, VOCABULARY.get(current(name), "not in the vocabulary")) for name in names]
        tables.append((f"the {side}'s side reads", asked or [("nothing",)]))
    click.echo()
    print_tables(tables)
    click.echo("\n" + click.style("in a recipe", bold=True))
    for line in snippet(component, registry).splitlines():
        click.echo(f"  {line}")


def _about(component: Component) -> Iterator[Row]:
    if component.paper:
        arxiv = component.paper.removeprefix("arXiv:")
        link = "" if arxiv == component.paper else f"https://arxiv.org/abs/{arxiv}"
        yield "paper", component.paper, link
    if component.aliases:
        yield "once called", ", ".join(component.aliases)
    if callable(component.offers):
        yield "offers", "depends on its options"
    elif offers := tuple(component.offers):
        yield "offers", ", ".join(offers)


def _option(row: OptionRow) -> Row:
    default = "required" if row.required else row.default_text
    bounds = f", {row.bounds_text}" if row.bounds_text else ""
    return (row.name, row.type_text + bounds, default, row.help)


def snippet(component: Component, registry: Registry) -> str:
    """Lines to paste into a recipe; options with a default are comments."""
    use = registry.short_name(component)
    header = _HEADERS[component.kind]
    lines = [header.format(component.name)]
    if "{}" not in header or use != component.name:
        lines.append(f"use = {toml_text(use)}")
    for row in option_rows(component.options):
        if row.required:
            lines.append(f"{row.name} = ...  # {row.type_text}: {row.help}".rstrip(": "))
        elif row.default_text != "unset":
            lines.append(f"# {row.name} = {row.default_text}")
    return "\n".join(lines)


# --- a recipe -------------------------------------------------------------------------------------


def _resolved(
    registry: Registry, recipe: str, preview: bool, sets: tuple[str, ...]
) -> tuple[dict[str, Any], Recipe]:
    """Every table of the recipe with all defaults, and the recipe as it was read."""
    from ganforge.planning.compose import compose
    from ganforge.planning.resolved_recipe import resolved_tables
    from ganforge.recipes.recipe import load

    loaded = load(recipe, preview=preview, sets=sets, shipped=registry.recipes())
    tables = resolved_tables(compose(loaded, registry))
    print_warnings(registry)
    del tables["lock"]  # belongs to a run
    return tables, loaded


def _print_recipe(tables: Mapping[str, Any], recipe: Recipe) -> None:
    lines = list(_recipe_lines(tables, recipe.table, ()))
    width = min(max(len(text) for text, origin in lines if origin), 60)
    for text, origin in lines:
        comment = f"{' ' * (width - len(text))}  # {origin}" if origin else ""
        click.echo(text + click.style(comment, dim=True))


def _recipe_lines(
    tables: Mapping[str, Any], written: Table, path: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """(TOML line, where its value comes from); values before the tables below them."""
    for key, value in tables.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {toml_text(value)}", origin(written, (*path, key))
    for key, value in tables.items():
        if isinstance(value, Mapping):
            if any(not isinstance(v, Mapping) for v in value.values()):
                yield "", ""
                yield f"[{'.'.join((*path, key))}]", ""
            yield from _recipe_lines(value, written, (*path, key))


def origin(written: Table, path: tuple[str, ...]) -> str:
    """Where the value at a path of the resolved recipe was written; `default` if nowhere."""
    from ganforge.recipes.recipe import origin as where_written

    for way in _ways(path):
        table = written
        for number, key in enumerate(way):
            entry = table.entry(key)
            if entry is None:
                break
            last = number == len(way) - 1
            if last or not isinstance(entry.value, Table):
                return where_written(entry)
            table = entry.value
    return "default"


def _ways(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths that a value may have been written at: a network's own, or the common one."""
    yield path
    if path == ("train", "steps"):
        yield ("train", "epochs")
    if len(path) > 3 and path[2] in ("optimizer", "schedule"):
        if path[2] == "schedule":
            yield (*path[:2], "optimizer", *path[2:])
            yield ("optimizer", *path[2:])
        yield path[2:]
