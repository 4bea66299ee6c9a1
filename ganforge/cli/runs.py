"""`ganforge runs [DIR]`: every run, and how far it is; of a sweep its figures too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ganforge.cli.tables import print_tables
from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.storage.run_folder import RunFolder, find_runs
from ganforge.sweeps.folder import is_sweep, runs_below

_HEADER = ("run", "recipe", "steps", "state", "changed", "newest sheet")


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    help="where the runs are [runs]",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option(
    "--baseline", metavar="GROUP", help="of a sweep: the value to compare the others' figures with"
)
@click.option(
    "--value",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="of a sweep: figures to show, such as fidelity/* [all but families]",
)
def command(
    folder: Path | None,
    root: Path,
    as_json: bool,
    baseline: str | None,
    patterns: tuple[str, ...],
) -> None:
    """List the runs, the newest last.

    The same `ganforge run` again resumes a stopped run.

    DIR may be the folder of a sweep. Then figures are listed as well: mean, deviation and number of
    each value's seeds and, with --baseline, the mean difference of runs of the same seed with its
    95 % interval.
    """
    root = folder or root
    swept = is_sweep(root)
    if not swept and (baseline is not None or patterns):
        option = "--value" if baseline is None else "--baseline"
        raise GanforgeError(f"{option} is for the runs of a sweep, but {root} is not one")
    found = runs_below(root) if swept else find_runs(root)
    records = [record_of(run) for run in found]
    if swept:
        for run, record in zip(found, records, strict=True):
            record["name"] = run.path.relative_to(root).as_posix()
    if as_json:
        click.echo(json.dumps({"runs": records}, indent=2))
    elif not records:
        click.echo(f"no runs in {root}; start one with `ganforge run RECIPE`")
    else:
        _print([_row(record) for record in records])
        if swept:
            from ganforge.cli.results_table import print_results

            click.echo("")
            whole = [run for run, it in zip(found, records, strict=True) if it["state"] != "broken"]
            print_results(root, whole, baseline, patterns)


def record_of(folder: RunFolder) -> dict[str, Any]:
    """A run for programs. state: training (now), finished, stopped, started (no
    checkpoint yet) or broken."""
    sheets = folder.sheets()
    sheet = str(sheets[-1]) if sheets else None
    try:
        return {**folder.state(), "sheet": sheet}
    except RunError as error:
        broken = {"name": folder.name, "recipe": "", "step": 0, "steps": 0, "state": "broken"}
        return {**broken, "error": str(error), "changed": "", "folder": str(folder.path)} | {
            "sheet": sheet
        }


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    steps = f"{record['step']:,}/{record['steps']:,}" if record["steps"] else ""
    changed = record["changed"].replace("T", " ")[:16]
    names = (record["name"], record["recipe"], steps, record["state"])
    return (*names, changed, record["sheet"] or "")


def _print(rows: list[tuple[str, ...]]) -> None:
    """Paths are folded rather than cut: they are copied."""
    if not sys.stdout.isatty():
        print_tables([("", [_HEADER, *rows])])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    styles = ("cyan", "", "", "", "dim", "dim")
    for name, style in zip(_HEADER, styles, strict=True):
        right = "right" if name == "steps" else "left"
        table.add_column(name, style=style, overflow="fold", justify=right)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
