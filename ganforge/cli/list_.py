"""`ganforge list [KIND or recipes]`: what is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ganforge.cli.options import with_registry
from ganforge.cli.tables import print_tables
from ganforge.interfaces.manifest import KINDS, Component
from ganforge.recipes.suggestions import nearest
from ganforge.registry.registry import LoadFailure, Registry, ShippedRecipe

_PLURALS = {kind: f"{kind}es" if kind.endswith("s") else f"{kind}s" for kind in KINDS}
RECIPES = "recipes"


def _kind(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    kind = as_kind(value)
    if kind is None:
        words = [*KINDS, RECIPES]
        close = nearest(value, words)
        hint = f"did you mean '{close[0]}'?" if close else f"kinds: {', '.join(words)}"
        raise click.UsageError(f"there is no kind '{value}'; {hint}", ctx)
    return kind


def as_kind(word: str) -> str | None:
    """`losses`, `Loss` -> `loss`; `recipe` -> `recipes`; None for other words."""
    word = word.lower()
    if word in ("recipe", RECIPES):
        return RECIPES
    return next((kind for kind, plural in _PLURALS.items() if word in (kind, plural)), None)


@click.command()
@click.argument("kind", callback=_kind, required=False)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option(
    "--markdown", "as_markdown", is_flag=True, help="print a page with every option, in Markdown"
)
@click.option("--plugin", metavar="NAME", help="only what this distribution provides")
@with_registry
def command(
    registry: Registry, kind: str | None, as_json: bool, as_markdown: bool, plugin: str | None
) -> None:
    """List components by kind, or the recipes that are shipped.

    KIND is generator, discriminator, loss, augmentor, hook, dataset, metric or recipes.
    """
    components = registry.components if kind in (None, RECIPES) else registry.of(str(kind))
    if plugin is not None:
        components = _of_plugin(components, plugin, registry)
    if as_markdown and kind != RECIPES:
        from ganforge.cli.components_page import page

        click.echo(page(components, registry), nl=False)
    elif as_json:
        listed = (
            {"recipes": [_recipe_record(recipe, registry) for recipe in registry.shipped()]}
            if kind == RECIPES
            else {"components": [component_record(c, registry) for c in components]}
        )
        failed = [failure_record(failure) for failure in registry.failures]
        click.echo(json.dumps({**listed, "failed": failed}, indent=2))
    elif kind == RECIPES:
        _print_recipes(registry)
    else:
        _print_components(registry, components)


def _of_plugin(
    components: tuple[Component, ...], plugin: str, registry: Registry
) -> tuple[Component, ...]:
    providers = sorted({component.provider for component in registry.components})
    if plugin not in providers:
        close = nearest(plugin, providers)
        hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(providers)}"
        raise click.UsageError(f"no plugin '{plugin}' provides components; {hint}")
    return tuple(component for component in components if component.provider == plugin)


def component_record(component: Component, registry: Registry) -> dict[str, Any]:
    """A component for programs. `use` is what to write in a recipe."""
    return {
        "kind": component.kind,
        "name": component.name,
        "id": component.id,
        "provider": component.provider,
        "version": component.version,
        "summary": component.summary,
        "paper": component.paper,
        "aliases": list(component.aliases),
        "use": registry.short_name(component),
    }


def failure_record(failure: LoadFailure) -> dict[str, str]:
    """A plugin that failed to load, for programs."""
    return {
        "provider": failure.provider,
        "version": failure.version,
        "entry_point": failure.entry_point,
        "error": failure.error,
    }


def summary_of(recipe: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    comment = []
    with recipe.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            text = line.strip().removeprefix("#").strip()
            if not line.startswith("#") or not text:
                break
            comment.append(text)
    return " ".join(comment)


def _recipe_record(recipe: ShippedRecipe, registry: Registry) -> dict[str, str]:
    return {
        "name": _recipe_name(recipe, registry),
        "provider": recipe.provider,
        "path": str(recipe.path),
        "summary": summary_of(recipe.path),
    }


def _recipe_name(recipe: ShippedRecipe, registry: Registry) -> str:
    """What to write after `ganforge run`."""
    alone = registry.recipes().get(recipe.name) == recipe.path
    return recipe.name if alone else f"{recipe.provider}/{recipe.name}"


def _print_recipes(registry: Registry) -> None:
    rows = [
        (_recipe_name(recipe, registry), summary_of(recipe.path), _from(recipe.provider))
        for recipe in registry.shipped()
    ]
    print_tables([("recipes", rows or [("none",)])])
    _hint("`ganforge run NAME --preview` trains one quickly, `ganforge show NAME` prints it whole")


def _print_components(registry: Registry, components: tuple[Component, ...]) -> None:
    tables = []
    for kind, plural in _PLURALS.items():
        rows = [
            (registry.short_name(c), c.summary, c.paper, _from(c.provider, c.version))
            for c in components
            if c.kind == kind
        ]
        if rows:
            tables.append((plural, rows))
    if not tables:
        click.echo("none")
    print_tables(tables, aligned=True)
    _hint("`ganforge show KIND/NAME` shows more, `ganforge list recipes` what can be trained")


def _from(provider: str, version: str = "") -> str:
    return "" if provider == "ganforge" else f"from {provider} {version}".rstrip()


def _hint(text: str) -> None:
    """For people only; a pipe gets the list and nothing else."""
    if sys.stdout.isatty():
        click.secho(f"\n{text}", dim=True)
