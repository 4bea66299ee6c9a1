"""`ganforge graph [RUN]...`: what runs logged, drawn against their steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.run_folder import RunFolder, find_run


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--value",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="a panel with the numbers of this name, such as 'loss/*/generator'; may be repeated",
)
@click.option(
    "--smooth",
    metavar="N",
    type=click.IntRange(min=1),
    help="running median over N logged lines, 1 for none [a fortieth of them]",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="FILE.png, FILE.svg or FILE.pdf [RUN/losses.png]",
)
def command(
    runs: tuple[str, ...], patterns: tuple[str, ...], smooth: int | None, out: Path | None
) -> None:
    """Draw losses, scores and accuracy against the steps.

    RUN is a run's folder or name; left out, the newest. Several runs stand side by side with the
    same axes; over each other where they are more than four, or where --value asks for one number.
    """
    folders = [find_run(run) for run in runs] or [find_run(None)]
    out = out or _usual_place(folders, patterns)
    _check(out)
    from ganforge.lab import charts

    names = names_of(folders)
    if len(folders) > len(charts.COLOURS):
        raise GanforgeError(f"at most {len(charts.COLOURS)} runs can be told apart in one graph")
    logs = [charts.read_log(f, name) for f, name in zip(folders, names, strict=True)]
    panels = charts.chosen_panels(logs, patterns) if patterns else charts.usual_panels(logs)
    if not panels:
        raise GanforgeError(
            f"{names[0]} logged no losses, scores or accuracy; name what to draw with `--value`: "
            f"{', '.join(list(logs[0].series)[:5])}"
        )
    charts.write_graph(out, logs, panels, smooth or 0)
    steps = max(log.last for log in logs)
    click.echo(f"{', '.join(names)} up to step {steps:,}: {out}")


def _usual_place(folders: Sequence[RunFolder], patterns: Sequence[str]) -> Path:
    """In the run's folder; of several, in the current one."""
    name = "graph" if patterns else "losses"
    if len(folders) == 1:
        return folders[0].path / f"{name}.png"
    return Path("-".join((*(folder.path.resolve().name for folder in folders), name)) + ".png")


def _check(out: Path) -> None:
    if out.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise GanforgeError(f"cannot write {out.name}: --out takes FILE.png, FILE.svg or FILE.pdf")
    if out.is_dir():
        raise GanforgeError(f"{out} is a folder; give --out another name")


def names_of(folders: Sequence[RunFolder]) -> list[str]:
    """What distinguishes the runs: their names, or their paths where these are the same."""
    names = [folder.path.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder.path) for folder in folders]
