"""`ganforge data list / fetch NAME / check RECIPE / bench RECIPE`: get datasets, find bad files in
them, time them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganforge.cli.list_ import component_record
from ganforge.cli.options import compose_recipe, recipe_options, warn, with_registry
from ganforge.cli.tables import print_tables
from ganforge.data.archives import ARCHIVES, Archive, known
from ganforge.data.summary import Range, summary_of
from ganforge.interfaces.errors import DataError
from ganforge.registry.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ganforge.interfaces.components import Dataset
    from ganforge.planning.plan import DataPlan


@click.group()
def command() -> None:
    """Fetch, verify and time datasets."""


# ---------------------------------------------------------------- list


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_registry
def list_(registry: Registry, as_json: bool) -> None:
    """List the archives that can be fetched, where they are, and the datasets that are installed.

    Archives are looked for in the folder `data` below the current one.
    """
    datasets = registry.of("dataset")
    if as_json:
        archives = [_archive_record(archive) for archive in ARCHIVES.values()]
        records = [component_record(component, registry) for component in datasets]
        click.echo(json.dumps({"archives": archives, "datasets": records}, indent=2))
        return
    rows = [
        (archive.name, archive.summary, _place(archive), f"licence: {archive.licence}")
        for archive in ARCHIVES.values()
    ]
    components = [(registry.short_name(component), component.summary) for component in datasets]
    print_tables([("archives", rows), ("datasets", components)])


def _archive_record(archive: Archive) -> dict[str, Any]:
    return {
        "name": archive.name,
        "summary": archive.summary,
        "source": archive.source,
        "licence": archive.licence,
        "bytes": archive.bytes,
        "folder": str(_folder(archive)) if _is_there(archive) else None,
    }


def _place(archive: Archive) -> str:
    there = _is_there(archive)
    return f"in {_folder(archive)}" if there else f"not fetched, {_megabytes(archive.bytes)}"


def _folder(archive: Archive) -> Path:
    """Where an archive is put by default."""
    return Path("data", archive.name)


def _is_there(archive: Archive) -> bool:
    return not archive.missing(_folder(archive))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"


# ---------------------------------------------------------------- fetch


@command.command()
@click.argument("name")
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="folder that will hold it; otherwise data/NAME",
)
def fetch(name: str, folder: Path | None) -> None:
    """Download a known archive, verified by its SHA-256. The same command again resumes."""
    from ganforge.data.download import fetch as fetch_archive

    archive = known(name)
    folder = folder or _folder(archive)
    if not archive.missing(folder):
        click.echo(f"{name} is already in {folder}")
        return
    click.echo(f"{name}: {archive.summary}, {_megabytes(archive.bytes)}")
    click.echo(f"source: {archive.source}; licence: {archive.licence}")
    with progress_bar(f"fetching {name}", bytes_=True) as on_progress:
        fetch_archive(name, folder, on_progress=on_progress)
    click.echo(f'it is in {folder}; in a recipe: data.root = "{folder.as_posix()}"')


# ---------------------------------------------------------------- check


@command.command()
@click.argument("recipe")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_registry
@click.pass_context
def check(
    ctx: click.Context,
    registry: Registry,
    recipe: str,
    preview: bool,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read every file of a recipe's dataset and name each that cannot be used.

    Exit status 2 if there are any.
    """
    data = compose_recipe(registry, recipe, preview=preview, sets=sets).data
    dataset = _dataset(data, registry)
    with progress_bar("reading", shown=not as_json) as on_progress:
        faults, total, ranges = _faults(dataset, on_progress)
    read = summary_of(data, read=ranges)
    if as_json:
        report = {"ok": not faults, "rows": total, "faults": faults, "data": read.as_json()}
        click.echo(json.dumps(report, indent=2))
    else:
        for line in (*read.lines(), *faults):
            click.echo(line)
        for text in read.warnings:
            warn(text)
        bad = f"{len(faults):,} faults in {total:,} rows"
        good = f"all {total:,} rows of '{data.component.name}' are sound"
        click.echo(bad if faults else good)
    if faults:
        ctx.exit(DataError.exit_status)


def _dataset(data: DataPlan, registry: Registry) -> Dataset:
    _refuse_unfetched(data)
    dataset: Dataset = registry.load_target(data.component)(
        data.options, data.image, data.description
    )
    return dataset


def _refuse_unfetched(data: DataPlan) -> None:
    must_fetch = getattr(data.options, "must_fetch", lambda: False)
    if must_fetch():
        name, root = data.options.fetch, data.options.root
        raise DataError(f"{name} is not fetched yet: `ganforge data fetch {name} --to {root}`")


def _faults(
    dataset: Dataset, on_progress: Callable[[int, int], None]
) -> tuple[list[str], int, dict[str, Range]]:
    """What is wrong with which rows, each said once, how many rows there are, and the range of the
    values of each domain of images."""
    parts = [
        (split, domain, dataset.count(split, domain))
        for split in ("train", "test")
        for domain in dataset.description.domains
    ]
    total, done, faults = sum(count for _, _, count in parts), 0, dict[str, None]()
    ranges: dict[str, Range] = {}
    for split, domain, count in parts:
        for found in _looked_at(dataset, split, domain, count):
            done += 1
            if isinstance(found, str):
                faults[found] = None
            elif found is not None:
                ranges[domain] = ranges[domain] | found if domain in ranges else found
            if done % 64 == 0 or done == total:
                on_progress(done, total)
    return list(faults), total, ranges


def _looked_at(
    dataset: Dataset, split: str, domain: str, count: int
) -> Iterator[str | Range | None]:
    """For each row what is wrong with it, or the range of its values; None for other data."""
    from ganforge.data.images import THREADS

    def look(index: int) -> str | Range | None:
        try:
            return _range(dataset.item(split, domain, index), 1)
        except DataError as error:
            return str(error)

    try:
        rows = dataset.rows(split, domain) if count else None  # read all at once
        if rows is not None:
            yield _range(rows, count)
            yield from (None for _ in range(count - 1))
            return
    except DataError as error:
        yield from (str(error) for _ in range(count))
        return
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(look, range(count))


def _range(images: Tensor, count: int) -> Range | None:
    """Of images, uint8 [..., C, H, W]; None for what is none."""
    if images.dim() < 3 or images.is_floating_point() or not images.numel():
        return None
    return Range(int(images.min()), int(images.max()), count)


# ---------------------------------------------------------------- bench


@command.command()
@click.argument("recipe")
@recipe_options
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    help="how long to measure each way for",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="the most to try; otherwise one per core"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_registry
def bench(
    registry: Registry,
    recipe: str,
    preview: bool,
    sets: tuple[str, ...],
    seconds: float,
    workers: int | None,
    as_json: bool,
) -> None:
    """Time how quickly a recipe's data arrives, without training.

    Held in memory, decoded by threads, and by worker processes; with `--set train.cache=true`
    from the cache of decoded images, while it fills and afterwards.
    """
    data = compose_recipe(registry, recipe, preview=preview, sets=sets)
    _refuse_unfetched(data.data)

    from ganforge.training.data_benchmark import (
        data_bench,  # imports torch: only now that the recipe is right
    )

    rows = [("", "rows/s", "ms per batch", "first batch")]
    found = []
    for one in data_bench(data, registry, seconds, workers, progress_bar):
        found.append({"way": one.way, "rows_per_second": one.rows, "first_batch": one.start})
        milliseconds = data.train.batch / one.rows * 1e3
        rows.append((one.way, f"{one.rows:,.0f}", f"{milliseconds:.1f}", f"{one.start:.2f} s"))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_tables([(f"{data.name}: batch {data.train.batch}", rows)])


# ---------------------------------------------------------------- progress


@contextmanager
def progress_bar(
    what: str, *, bytes_: bool = False, shown: bool = True
) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; called with (done, total)."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amount = (DownloadColumn(), TransferSpeedColumn()) if bytes_ else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
