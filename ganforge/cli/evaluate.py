"""`ganforge evaluate [RUN]...`: metrics of runs, each with the protocol that produced it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve, frozen

from ganforge import __version__
from ganforge.cli.data_summary import say_doubts, say_read, summary_now
from ganforge.cli.options import (
    data_at,
    data_option,
    open_registry,
    plugin_options,
    print_warnings,
    warn,
)
from ganforge.cli.run_options import say_other_data
from ganforge.cli.tables import print_tables
from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.interfaces.manifest import Impossible, with_options
from ganforge.planning.plan import Plan
from ganforge.recipes.grammar import DATA_KEYS, slug
from ganforge.recipes.problems import Problem, RecipeError
from ganforge.recipes.recipe import Recipe
from ganforge.recipes.toml_tables import Table
from ganforge.recipes.typed_options import unstructure
from ganforge.registry.registry import NotFound, Registry
from ganforge.storage.run_folder import RunFolder, find_run

if TYPE_CHECKING:
    from ganforge.runs.measurement import Measurement
    from ganforge.runs.run import Run


SEEDS_APART = 1_000_000  # so that sets of samples of different sampling seeds share none


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--metric", "metrics", metavar="M", multiple=True, help="only this one; may be repeated"
)
@click.option(
    "--step",
    "steps",
    metavar="N",
    multiple=True,
    help="a step that was kept, `last`, `best`, or `all`; may be repeated [last, and best if any]",
)
@click.option(
    "--seeds",
    metavar="S",
    default=None,
    help="sampling seeds, such as 0-4 or 0,1,2: measure with each; mean and 95 % interval",
)
@click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="change an option, such as metrics.NAME.count=1000, or where the data is: data.root=DIR",
)
@click.option("--force", is_flag=True, help="compare runs although protocols differ")
@click.option("--json", "as_json", is_flag=True, help="print a line of JSON for each measurement")
@click.option("--device", metavar="D", default="auto", help="auto, cpu, cuda or mps")
@data_option
@plugin_options
def command(
    runs: tuple[str, ...],
    metrics: tuple[str, ...],
    steps: tuple[str, ...],
    seeds: str | None,
    sets: tuple[str, ...],
    force: bool,
    as_json: bool,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Measure trained generators.

    RUN is a run's folder or name; left out, the newest. Several runs are also compared, as far as
    they were measured by the same protocol. Without --metric, the metrics of a run's recipe are
    measured; M is one of these, or any that `ganforge list metric` shows. Each measurement is added
    to RUN/evaluations.jsonl as a line.
    """
    chosen = _seeds(seeds)
    folders = [find_run(run) for run in runs or (None,)]
    registry = open_registry(plugin_files, without)
    plans = [_plan(folder, registry, metrics, (*sets, *data_at(data))) for folder in folders]
    print_warnings(registry)
    _say_data(folders, plans, as_json)
    todo = [
        _Todo(run, chosen)
        for folder, plan in zip(folders, plans, strict=True)
        for run in _opened(folder, registry, plan, steps, device)
    ]
    if data is not None:
        for run in {one.run.folder.path: one.run for one in todo}.values():
            say_other_data(run)
    _evaluate(todo, as_json, force)


# --- what is asked --------------------------------------------------------------------------------


def _seeds(text: str | None) -> list[int]:
    """`0-2,7` -> [0, 1, 2, 7]; [] for None. Raises GanforgeError."""
    if text is None:
        return []
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise GanforgeError(
                f"--seeds takes whole numbers and ranges, such as 0-4 or 0,1,2, not '{text}'"
            )
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    chosen = list(dict.fromkeys(found))
    if len(chosen) < 2:
        raise GanforgeError(f"--seeds {text}: an interval needs two seeds or more, such as 0-4")
    return chosen


def _plan(folder: RunFolder, registry: Registry, asked: Sequence[str], sets: Sequence[str]) -> Plan:
    """What was played, with the metrics that are to be measured and no others.

    Raises RecipeError for mistakes in settings, NotFound for a metric that is not installed, and
    GanforgeError where there is nothing to measure.
    """
    from ganforge.planning.compose import compose
    from ganforge.recipes.recipe import load

    _check_sets(sets)
    names, added = _named(folder, registry, asked)
    recipe = load(folder.resolved, sets=(*added, *sets))
    tables = dict(_metric_tables(recipe))
    chosen = [name for name in names or tables if _is_installed(name, tables, registry, names)]
    if not chosen and not recipe.problems:
        there = ", ".join(registry.short_name(c) for c in registry.of("metric"))
        raise GanforgeError(
            f"{folder.name} has no metrics in its recipe that could be measured: name one with "
            f"`--metric`; there are: {there or 'none'}"
        )
    _keep_only(recipe, chosen)
    plan = compose(recipe, registry, offline=True)
    _check_options(plan, tables)
    return plan


def _check_sets(sets: Iterable[str]) -> None:
    """Settings may change how is measured, not what was trained."""
    for argument in sets:
        key = argument.partition("=")[0].strip()
        table, _, option = key.partition(".")
        if (
            not option
            or table not in ("metrics", "data")
            or (table == "data" and option in DATA_KEYS)
        ):
            raise GanforgeError(
                f"--set {key}: here it changes options of metrics (metrics.NAME.OPTION=VALUE) and "
                "where the data is (data.root=DIR); the rest is as the run was trained"
            )


def _named(
    folder: RunFolder, registry: Registry, asked: Iterable[str]
) -> tuple[list[str], list[str]]:
    """The names that the asked-for metrics have in the recipe, and the settings that bring those
    into it that it does not have."""
    there: Mapping[str, Any] = folder.resolved_tables().get("metrics", {})
    names, added = [], []
    for word in asked:
        if word in there:
            names.append(word)
            continue
        component = registry.find("metric", word)
        same = [name for name, table in there.items() if table.get("use") == component.id]
        if not same:
            taken = component.name in there
            same = [slug(component.id) if taken else component.name]
            added.append(f'metrics.{same[0]}.use="{component.id}"')
        names += same
    return list(dict.fromkeys(names)), added


def _metric_tables(recipe: Recipe) -> Iterator[tuple[str, Table]]:
    tables = recipe.table.get("metrics")
    return tables.tables() if isinstance(tables, Table) else iter(())


def _is_installed(
    name: str, tables: Mapping[str, Table], registry: Registry, asked: Sequence[str]
) -> bool:
    """Whether a metric's component is here; one of the recipe that is not is only warned of,
    where nobody asked for it by name."""
    if name not in tables:
        return False  # turned off
    table = tables[name]
    try:
        registry.find("metric", str(table.get("use", name)))
    except NotFound as error:
        if asked or "use" not in table:
            raise
        warn(f"metric {name} of the recipe is left out: {error.message}")
        return False
    return True


def _keep_only(recipe: Recipe, names: Sequence[str]) -> None:
    entry = recipe.table.entry("metrics")
    if entry is not None and isinstance(entry.value, Table):
        kept = {name: entry.value.entries[name] for name in names}
        recipe.table.entries["metrics"] = evolve(entry, value=Table(entry.value.span, kept))


def _check_options(plan: Plan, tables: Mapping[str, Table]) -> None:
    """Let the metrics refuse their options, which nobody else does for an opened run."""
    problems = []
    for name, part in plan.metrics.items():
        try:
            if part.component.check is not None:
                part.component.check(part.options)
        except Impossible as error:
            entry = tables[name].entry(error.key) if error.key else None
            span = entry.value_span if entry else tables[name].span
            problems.append(Problem(str(error), span))
    if problems:
        raise RecipeError(problems)


def _opened(
    folder: RunFolder, registry: Registry, plan: Plan, steps: Sequence[str], device: str
) -> list[Run]:
    """The run at each step that is asked for, ascending; of none, the last and the best if there
    is one. Imports torch."""
    from ganforge.hardware.machine import find_device
    from ganforge.runs.run import Run

    where = find_device(device)
    runs = {}
    if not steps:
        steps = ("last", "best") if folder.best() in folder.checkpoint_steps() else ("last",)
    for asked in steps:
        kept: list[int] | list[str] = folder.kept_steps() if asked == "all" else [asked]
        for step in kept or ["last"]:
            run = Run(folder, step=step, device=where, registry=registry)
            run.plan = plan
            runs[run.step] = run
    return [runs[step] for step in sorted(runs)]


def _say_data(folders: Sequence[RunFolder], plans: Sequence[Plan], as_json: bool) -> None:
    """What is read of each run's data, once; its warnings alone where programs read the rest."""
    for folder, plan in zip(folders, plans, strict=True):
        read = summary_now(plan)
        if read is None:
            continue
        if as_json:
            say_doubts(read)
            continue
        if len(folders) > 1:
            click.secho(folder.name, bold=True)
        say_read(read)


# --- doing it -------------------------------------------------------------------------------------


@frozen
class _Todo:
    """A run at a step, and the sampling seeds to measure with."""

    run: Run
    seeds: Sequence[int]


def _evaluate(todo: list[_Todo], as_json: bool, force: bool) -> None:
    """Measure, and write down each measurement at once. One that cannot be made is told and does
    not stop the others."""
    total, failed = sum(len(one.run.plan.metrics) for one in todo), 0
    measured: list[tuple[str, Measurement]] = []
    several = len({one.run.folder.path for one in todo}) > 1
    while todo:
        run, seeds = todo[0].run, todo[0].seeds
        del todo[0]  # and with it the networks of its step
        heading = f"{run.folder.name} at step {run.step:,}"
        if not as_json:
            click.secho(heading, bold=True)
        for name in run.plan.metrics:
            try:
                measurement = _measured(name, run, seeds)
            except GanforgeError as error:
                if total == 1:
                    raise
                failed += 1
                warn(f"metric {name} at step {run.step:,} could not be computed: {error}")
                continue
            measured.append((heading, measurement))
            line = _line(measurement, run, seeds)
            _append(run.folder, line)
            click.echo(line) if as_json else _show(measurement)
    if failed:
        raise RunError(f"{failed} of {total} measurements could not be made")
    if several and not as_json:
        _compare(measured, force)


def _measured(name: str, run: Run, seeds: Sequence[int]) -> Measurement:
    """A metric of a run, with several sampling seeds their mean."""
    from ganforge.runs.measurement import Measurement

    part = run.plan.metrics[name]
    metric = run.registry.load_target(part.component)
    if not seeds:
        with _working(f"{name} at step {run.step:,}"):
            return Measurement.take(name, partial(metric, part.options), run, part.component)
    if not hasattr(part.options, "seed"):
        warn(f"metric {name} draws no samples by an option `seed`: it is measured once")
        return _measured(name, run, ())
    repeats = []
    for seed in seeds:
        options = with_options(part.options, seed=part.options.seed + seed * SEEDS_APART)
        with _working(f"{name} at step {run.step:,}, sampling seed {seed}"):
            repeats.append(Measurement.take(name, partial(metric, options), run, part.component))
    how = (
        f"mean of {len(seeds)} such, of sampling seeds {', '.join(map(str, seeds))}, each "
        f"{SEEDS_APART:,} seeds on; ± = half of the 95 % interval (Student's t)"
    )
    return Measurement.mean(repeats, how)


def _compare(measured: Sequence[tuple[str, Measurement]], force: bool) -> None:
    """A table for each metric that several runs have. Raises RunError where protocols differ."""
    from ganforge.runs.measurement import difference

    refused = []
    for name in dict.fromkeys(measurement.name for _, measurement in measured):
        of = [(heading, x) for heading, x in measured if x.name == name]
        first, *others = of
        apart = ((h, difference(first[1].protocol, x.protocol)) for h, x in others)
        heading, where = next(((h, where) for h, where in apart if where), ("", ""))
        if where and not force:
            refused.append(f"{name} of {first[0]} and of {heading} cannot be compared: {where}")
        elif others:
            _show_compared(name, of)
            if where:
                warn(f"{name} compared although protocols differ: {where}")
    if refused:
        raise RunError(f"{'; '.join(refused)}; `--force` compares them anyway")


def _show_compared(name: str, measured: Sequence[tuple[str, Measurement]]) -> None:
    from ganforge.runs.measurement import figure_text

    def cell(measurement: Measurement, key: str) -> str:
        if key not in measurement.figures:
            return ""
        value = figure_text(measurement.figures[key])
        return f"{value} {measurement.half_text(key)}".rstrip()

    keys = dict.fromkeys(key for _, measurement in measured for key in measurement.figures)
    rows = [(key, *(cell(measurement, key) for _, measurement in measured)) for key in keys]
    click.echo()
    print_tables([(f"{name} compared", [("", *(heading for heading, _ in measured)), *rows])])


def _show(measurement: Measurement) -> None:
    import rich

    measurement.show(rich.get_console())


@contextmanager
def _working(what: str) -> Iterator[None]:
    """Say on a terminal what is being waited for."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(f"measuring {what}"):
        yield


def _line(measurement: Measurement, run: Run, seeds: Sequence[int]) -> str:
    """One measurement as a line of JSON, with all that it takes to repeat it."""
    import torch

    from ganforge.runs.measurement import for_json, or_null

    part = run.plan.metrics[measurement.name]
    provider = {part.component.provider: part.component.version}
    repeated: dict[str, Any] = {}
    if measurement.repeats:
        half = {key: measurement.interval(key) for key in measurement.figures}
        each = {key: [*map(or_null, measurement.each(key))] for key in measurement.figures}
        repeated = {"sampling_seeds": list(seeds), "interval": for_json(half), "each": each}
    return json.dumps(
        {
            "run": run.folder.name,
            "step": measurement.step,
            "metric": measurement.name,
            "figures": for_json(measurement.figures),
            **repeated,
            "protocol": measurement.protocol,
            "component": part.component.id,
            "options": unstructure(part.options),
            "versions": {"ganforge": __version__, **provider, "torch": str(torch.__version__)},
            "device": str(run.device),
            "seconds": round(measurement.seconds, 3),
        }
    )


def _append(folder: RunFolder, line: str) -> None:
    try:
        with folder.evaluations.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
    except OSError as error:
        raise RunError(f"cannot write {folder.evaluations}: {error.strerror or error}") from error
