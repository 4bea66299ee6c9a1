"""`ganforge schema`: a JSON Schema of recipes, for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ganforge.cli.options import with_registry
from ganforge.interfaces.errors import GanforgeError
from ganforge.registry.registry import Registry


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="file to write; unset: standard output",
)
@with_registry
def command(registry: Registry, out: Path | None) -> None:
    """Write a JSON Schema of recipes, made from the plugins that are installed.

    Editors that know TOML complete and underline a recipe whose first line names the file:
    `#:schema ./ganforge.schema.json`.
    """
    from ganforge.planning.json_schema import recipe_schema

    text = json.dumps(recipe_schema(registry), indent=1)
    if out is None:
        click.echo(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise GanforgeError(f"cannot write {out}: {error.strerror or error}") from error
    click.echo(f"{out}; begin a recipe beside it with the line\n\n  #:schema ./{out.name}")
