"""One command a file, each with a click command named `command`; here is what several share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ganforge.planning.plan import Plan
    from ganforge.registry.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])


def plugin_options(function: F) -> F:
    """`--plugin-file F` and `--no-plugin NAME`, as `plugin_files` and `without`."""
    function = click.option(
        "--plugin-file",
        "plugin_files",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        multiple=True,
        help="a Python file with components to use",
    )(function)
    return click.option(
        "--no-plugin",
        "without",
        metavar="NAME",
        multiple=True,
        help="leave out this installed plugin",
    )(function)


def with_registry(function: Callable[..., Any]) -> Callable[..., Any]:
    """`plugin_options`, passed as a loaded `registry`; what failed to load is reported."""

    @plugin_options
    @wraps(function)
    def wrapped(*, plugin_files: Sequence[Path], without: Sequence[str], **others: Any) -> Any:
        return function(registry=open_registry(plugin_files, without), **others)

    return wrapped


def recipe_options(function: F) -> F:
    """`--preview` and `--set KEY=VALUE`, as `preview` and `sets`."""
    function = click.option(
        "--set",
        "sets",
        metavar="KEY=VALUE",
        multiple=True,
        help="change one value of the recipe, such as train.batch=32",
    )(function)
    return click.option("--preview", is_flag=True, help="the recipe's small, quick version")(
        function
    )


def data_option(function: F) -> F:
    """`--data DIR`, as `data`: where the data of a run is, if not where it was."""
    return click.option(
        "--data",
        metavar="DIR",
        type=click.Path(exists=True, path_type=Path),
        help="where the run's data is now, if it has moved",
    )(function)


def data_at(data: Path | None) -> tuple[str, ...]:
    """The setting of `--data`; none where it was not given."""
    return () if data is None else (f"data.root={json.dumps(str(data.absolute()))}",)


def open_registry(plugin_files: Sequence[Path] = (), without: Sequence[str] = ()) -> Registry:
    """The registry; each plugin that failed to load is one line on standard error."""
    from ganforge.registry.registry import Registry

    registry = Registry.load(plugin_files=plugin_files, without=without)
    for failure in registry.failures:
        warn(
            f"plugin {failure.plugin} failed to load: {failure.error} "
            f"(`ganforge doctor {failure.provider}` says more)"
        )
    print_warnings(registry)
    return registry


def compose_recipe(
    registry: Registry,
    recipe: str,
    *,
    preview: bool = False,
    sets: Sequence[str] = (),
    starts: bool = False,
) -> Plan:
    """The plan of a recipe, given as a path or as the name of a shipped one.

    starts: whether what a run takes from other runs must be there.
    Raises RecipeError with every mistake. Warnings go to standard error.
    """
    from ganforge.planning.compose import compose
    from ganforge.recipes.recipe import load

    loaded = load(recipe, preview=preview, sets=tuple(sets), shipped=registry.recipes())
    plan = compose(loaded, registry, starts=starts)
    print_warnings(registry)
    return plan


def print_warnings(registry: Registry) -> None:
    """Say what the registry has to warn of, once."""
    while registry.warnings:
        warn(registry.warnings.pop(0))


def warn(text: str) -> None:
    """One line on standard error."""
    click.secho("warning", fg="yellow", bold=True, err=True, nl=False)
    click.echo(f": {text}", err=True)
