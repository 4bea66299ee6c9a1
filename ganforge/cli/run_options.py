"""What the commands share that look at a run: its argument, the step, the device, plugin files."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ganforge.cli.options import data_at, data_option, open_registry, plugin_options, warn
from ganforge.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

F = TypeVar("F", bound=Callable[..., Any])


def look_options(function: F) -> F:
    """`--generator`, `--step`, `--data`, `--device` and the plugin options."""
    function = plugin_options(data_option(function))
    function = click.option("--device", metavar="D", default="auto", help="auto, cpu, cuda or mps")(
        function
    )
    function = click.option(
        "--step",
        metavar="N",
        default="last",
        help="a step that was kept, `last` (the default) or `best`",
    )(function)
    return click.option("--generator", metavar="NAME", help="which one, if there are several")(
        function
    )


def open_folder(
    folder: RunFolder,
    step: str,
    device: str,
    plugin_files: Sequence[Path],
    without: Sequence[str],
    data: Path | None = None,
) -> Run:
    """Open a run. Imports torch, so everything that can be wrong before is checked before.

    data: where its data is, if not where it was.
    """
    registry = open_registry(plugin_files, without)
    from ganforge.hardware.machine import find_device
    from ganforge.runs.run import Run

    where = find_device(device)
    run = Run(folder, step=step, device=where, registry=registry, sets=data_at(data))
    if data is not None:
        say_other_data(run)
    return run


def say_other_data(run: Run) -> None:
    """Warn where the data that somebody named is not what the run learned from."""
    from ganforge.runs.data_identity import changes, identity_of, read_identity

    kept = read_identity(run.folder)
    found = [] if kept is None else changes(kept, identity_of(run.dataset(), kept))
    if found:
        told = "; ".join(map(str, found))
        warn(f"this is not the data that {run.folder.name} learned from: {told}")


def placed(out: Path | None, usual: Path, write: Callable[[Path], None]) -> tuple[Path, int]:
    """Write a file where somebody asked for it, over what is there; or under the usual name, which
    never replaces what is there: where that is another file, `-2` and so on is added.

    Returns where it is, and how many files (0 or 1) it replaced.
    """
    if out is not None:
        replaced = out.is_file()
        write(out)
        return out, int(replaced)
    places = (usual, *(usual.with_stem(f"{usual.stem}-{number}") for number in range(2, 10_000)))
    taken = [*takewhile(os.path.lexists, places)]
    out = places[len(taken)]
    write(out)
    same = (path for path in taken if path.is_file() and filecmp.cmp(path, out, shallow=False))
    before = next(same, None)  # the same command again
    if before is not None:
        out.unlink()
    return before or out, 0


def replaced_note(count: int) -> str:
    """The note after the name of what was written."""
    return f" (replaced {count:,} file{'' if count == 1 else 's'} there)" if count else ""


def report_output(
    count: int, what: str, by: GeneratorPlan, of: Run, out: Path, replaced: int = 0
) -> None:
    """The line that a command ends with. replaced: files that were there before."""
    things = f"{count:,} {what}{'' if count == 1 else 's'}"
    averaged = ", averaged weights" if by.ema is not None else ""
    where = f"{out}{replaced_note(replaced)}"
    click.echo(f"{things} of {of.folder.name} at step {of.step:,}{averaged}: {where}")
