"""`ganforge report [RUN]...`: runs as one HTML page that opens without a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganforge.cli.graph import names_of
from ganforge.cli.options import open_registry, plugin_options, warn
from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.run_folder import RunFolder, find_run, write_whole
from ganforge.sweeps.folder import is_sweep, runs_below

if TYPE_CHECKING:
    from ganforge.lab.report.contents import Entry
    from ganforge.lab.report.page import Report
    from ganforge.runs.run import Run

_EVERY = 5.0  # seconds between two looks at a run that is watched


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="FILE.html [RUN/report.html; for several runs report.html]",
)
@click.option("--baseline", metavar="RUN", help="the run to compare the others' figures with")
@click.option(
    "--csv",
    "table",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="write the metrics there too, as comma-separated values",
)
@click.option("--blind", is_flag=True, help="pairs to choose from without knowing what they are")
@click.option(
    "--choices",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="show what somebody chose, as the page saved it; may be repeated",
)
@click.option(
    "--no-walks", is_flag=True, help="leave walks and filters out, which need the run's weights"
)
@click.option(
    "--watch", is_flag=True, help="write the page again while the runs train, until all are done"
)
@plugin_options
def command(
    runs: tuple[str, ...],
    out: Path | None,
    baseline: str | None,
    table: Path | None,
    blind: bool,
    choices: tuple[Path, ...],
    no_walks: bool,
    watch: bool,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Show runs on one page: samples, graphs, metrics, walks, filters, recipe, environment.

    RUN is a run's folder or name, or a sweep's folder; left out, the newest. The page is a single
    file that needs no server and no network. Runs whose recipes differ in the seed alone are summed
    up together.
    """
    from ganforge.lab.report import blind_choices as chosen
    from ganforge.lab.report import comparison, page

    folders = [folder for run in runs for folder in _named(run)] or [find_run(None)]
    if len(folders) > page.MOST_RUNS:
        more = "; `ganforge runs DIR` compares all of a sweep's" if len(folders) > len(runs) else ""
        raise GanforgeError(
            f"a report shows at most {page.MOST_RUNS} runs, not {len(folders)}{more}"
        )
    _refuse_twice(folders)
    out = out or (folders[0].path if len(folders) == 1 else Path()) / "report.html"
    _check(out, table)
    counted = chosen.read(choices)
    if watch:
        if blind:
            raise GanforgeError("--blind needs runs that no longer change: leave out --watch")
        no_walks = not _watch(folders, out, baseline, table) or no_walks
    entries = _entries(folders)
    report = page.report_of(entries, baseline)
    report.counted, report.blind = counted, blind
    if blind or not no_walks:
        _look(report, entries, not no_walks, plugin_files, without)
    size = _write(out, report)
    if table is not None:
        _put(table, comparison.to_csv(report.blocks, report.groups, report.baseline))
    for name in chosen.unknown_runs(counted, (entry.name for entry in entries)):
        warn(f"--choices has choices about '{name}', which this report does not show")
    click.echo(f"{', '.join(entry.name for entry in entries)}: {out} ({size / 1e6:.1f} MB)")


def _named(run: str) -> list[RunFolder]:
    """A run, or all runs of a sweep's folder."""
    return runs_below(Path(run)) if is_sweep(Path(run)) else [find_run(run)]


def _refuse_twice(folders: Sequence[RunFolder]) -> None:
    paths = [folder.path.resolve() for folder in folders]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise GanforgeError(f"{twice.name} is named twice; name each run once")


def _check(out: Path, table: Path | None) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise GanforgeError(f"cannot write {out.name}: --out takes FILE.html")
    if table is not None and table.suffix.lower() != ".csv":
        raise GanforgeError(f"cannot write {table.name}: --csv takes FILE.csv")
    for path in filter(None, (out, table)):
        if path.is_dir():
            raise GanforgeError(f"{path} is a folder; give a file's name")


def _entries(folders: Sequence[RunFolder]) -> list[Entry]:
    from ganforge.lab.report import contents

    return [
        contents.read(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)
    ]


def _write(out: Path, report: Report) -> int:
    """Write the page; its size in bytes."""
    from ganforge.lab.report import page

    text = page.write(report)
    _put(out, text)
    return len(text.encode())


def _put(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise GanforgeError(f"cannot write {path}: {error.strerror or error}") from error


# --- what needs weights ---------------------------------------------------------------------------


def _look(
    report: Report,
    entries: Sequence[Entry],
    walks: bool,
    plugin_files: Sequence[Path],
    without: Sequence[str],
) -> None:
    """Open the runs that have weights, and add what only these can show. Imports torch."""
    if not any(entry.state for entry in entries):
        return
    registry = open_registry(plugin_files, without)
    from ganforge.hardware.machine import find_device
    from ganforge.lab.report import page, pictures
    from ganforge.runs.run import Run

    device = find_device("auto")
    opened: list[tuple[str, Run]] = []
    for entry in entries:
        try:
            run = Run(entry.folder, device=device, registry=registry)
            pictures.opens(run)
        except GanforgeError as error:
            if entry.state:
                report.notes.append(f"no samples of {entry.name}: {str(error).splitlines()[0]}")
            continue
        opened.append((entry.name, run))
    if walks:
        for name, run in opened:
            walked = list(pictures.walks_of(run, name, page.WALKS // len(opened)))
            looked = list(pictures.filters_of(run, name, page.FILTERS // len(opened)))
            report.notes += [line for line in (*walked, *looked) if isinstance(line, str)]
            walks_shown = [one for one in walked if not isinstance(one, str)]
            if walks_shown:
                report.walks[name] = walks_shown
            filters_shown = [one for one in looked if not isinstance(one, str)]
            if filters_shown:
                report.filters[name] = filters_shown
    if report.blind:
        report.pairs, notes = pictures.pairs_of(opened, page.BLIND)
        report.notes += [f"no blind comparison of {note}" for note in notes]


# --- while training -------------------------------------------------------------------------------


def _watch(
    folders: Sequence[RunFolder], out: Path, baseline: str | None, table: Path | None
) -> bool:
    """Write the page whenever the runs have changed; True once they are finished, False where
    somebody ended it before. Nothing is made that would take the processor from the training."""
    seen: list[tuple[float, ...]] = []
    try:
        while True:
            now = [_changed(folder) for folder in folders]
            if now != seen:
                entries = _entries(folders)
                if all(entry.finished for entry in entries):
                    return True
                _write_watched(entries, out, baseline, table)
                if not seen:
                    click.echo(f"watching: open {out}; Ctrl-C ends it")
                seen = now
            time.sleep(_EVERY)
    except KeyboardInterrupt:
        return False


def _write_watched(
    entries: Sequence[Entry], out: Path, baseline: str | None, table: Path | None
) -> None:
    from ganforge.lab.report import comparison, page

    report = page.report_of(entries, baseline)
    report.watch = _EVERY
    _write(out, report)
    if table is not None:
        _put(table, comparison.to_csv(report.blocks, report.groups, report.baseline))


def _changed(folder: RunFolder) -> tuple[float, ...]:
    """When what a page shows was written last."""
    files = (folder.metrics, folder.evaluations, folder.resolved)
    paths = (*files, folder.samples, folder.checkpoints)
    return tuple(path.stat().st_mtime if path.exists() else 0.0 for path in paths)
