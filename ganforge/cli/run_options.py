"""What the commands share that look at a run: its argument, the step, the device, plugin files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ganforge.cli.options import open_registry, plugin_options
from ganforge.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

F = TypeVar("F", bound=Callable[..., Any])


def look_options(function: F) -> F:
    """`--generator`, `--step`, `--device` and the plugin options."""
    function = plugin_options(function)
    function = click.option("--device", metavar="D", default="auto", help="auto, cpu, cuda or mps")(
        function
    )
    function = click.option(
        "--step",
        metavar="N",
        default="last",
        help="a step that was kept, `last` (the default) or `best`",
    )(function)
    return click.option("--generator", metavar="NAME", help="which one, where there are several")(
        function
    )


def open_folder(
    folder: RunFolder, step: str, device: str, plugin_files: Sequence[Path], without: Sequence[str]
) -> Run:
    """Open a run. Imports torch, so everything that can be wrong before is checked before."""
    registry = open_registry(plugin_files, without)
    from ganforge.hardware.machine import find_device
    from ganforge.runs.run import Run

    return Run(folder, step=step, device=find_device(device), registry=registry)


def say_made(count: int, what: str, by: GeneratorPlan, of: Run, out: Path) -> None:
    """The line that a command ends with."""
    things = f"{count:,} {what}{'' if count == 1 else 's'}"
    averaged = ", averaged weights" if by.ema is not None else ""
    click.echo(f"{things} of {of.folder.name} at step {of.step:,}{averaged}: {out}")
