"""`ganforge evaluate [RUN]`: metrics of a run, each with the protocol that produced it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from ganforge import __version__
from ganforge.commands import open_registry, plugin_options, say_warnings, warn
from ganforge.document import Table
from ganforge.errors import GanforgeError, RunError
from ganforge.grammar import DATA_KEYS, slug
from ganforge.plan import Part, Plan
from ganforge.plugin import Impossible
from ganforge.problems import Problem, RecipeError
from ganforge.recipe import Recipe
from ganforge.registry import NotFound, Registry
from ganforge.runfolder import RunFolder, find_run
from ganforge.structure import unstructure

if TYPE_CHECKING:
    from ganforge.measuring import Measurement
    from ganforge.runs import Run


@click.command()
@click.argument("run", required=False)
@click.option(
    "--metric", "metrics", metavar="M", multiple=True, help="only this one; may be repeated"
)
@click.option(
    "--step",
    "steps",
    metavar="N",
    multiple=True,
    default=("last",),
    help="a step that was kept, `last` (the default), `best`, or `all`; may be repeated",
)
@click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="change an option, such as metrics.NAME.count=1000, or where the data is: data.root=DIR",
)
@click.option("--json", "as_json", is_flag=True, help="print a line of JSON for each measurement")
@click.option("--device", metavar="D", default="auto", help="auto, cpu, cuda or mps")
@plugin_options
def command(
    run: str | None,
    metrics: tuple[str, ...],
    steps: tuple[str, ...],
    sets: tuple[str, ...],
    as_json: bool,
    device: str,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Measure a trained generator.

    RUN is a run's folder or name; left out, the newest. Without --metric, the metrics of its recipe
    are measured; M is one of these, or any that `ganforge list metric` shows. Each measurement is
    added to RUN/evaluations.jsonl as a line.
    """
    folder = find_run(run)
    registry = open_registry(plugin_files, without)
    plan = _plan(folder, registry, metrics, sets)
    say_warnings(registry)
    opened = _opened(folder, registry, plan, steps, device)
    _evaluate(opened, plan, as_json)


# --- what is asked --------------------------------------------------------------------------------


def _plan(folder: RunFolder, registry: Registry, asked: Sequence[str], sets: Sequence[str]) -> Plan:
    """What was played, with the metrics that are to be measured and no others.

    Raises RecipeError for mistakes in settings, NotFound for a metric that is not installed, and
    GanforgeError where there is nothing to measure.
    """
    from ganforge.compose import compose
    from ganforge.recipe import load

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
    """Let the metrics refuse their options, which nobody else does for a run that is looked at."""
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
    """The run at each step that is asked for, ascending. Imports torch."""
    from ganforge.machine import find_device
    from ganforge.runs import Run

    where = find_device(device)
    runs = {}
    for asked in steps:
        kept: list[int] | list[str] = folder.kept_steps() if asked == "all" else [asked]
        for step in kept or ["last"]:
            run = Run(folder, step=step, device=where, registry=registry)
            run.plan = plan
            runs[run.step] = run
    return [runs[step] for step in sorted(runs)]


# --- doing it -------------------------------------------------------------------------------------


def _evaluate(runs: list[Run], plan: Plan, as_json: bool) -> None:
    """Measure, and write down each measurement at once. One that cannot be made is told and does
    not stop the others."""
    registry, folder = runs[0].registry, runs[0].folder
    metrics = {
        name: registry.load_target(part.component)(part.options)
        for name, part in plan.metrics.items()
    }
    total, failed = len(runs) * len(metrics), 0
    while runs:
        run = runs.pop(0)  # and with it the networks of its step
        if not as_json:
            click.secho(f"{folder.name} at step {run.step:,}", bold=True)
        for name, metric in metrics.items():
            try:
                with _working(f"{name} at step {run.step:,}"):
                    measurement = _take(name, metric, run)
            except GanforgeError as error:
                if total == 1:
                    raise
                failed += 1
                warn(f"metric {name} at step {run.step:,} could not be computed: {error}")
                continue
            line = _line(measurement, plan.metrics[name], run)
            _append(folder, line)
            click.echo(line) if as_json else _show(measurement)
    if failed:
        raise RunError(f"{failed} of {total} measurements could not be made")


def _take(name: str, metric: Any, run: Run) -> Measurement:
    from ganforge.measuring import Measurement

    return Measurement.take(name, metric, run)


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


def _line(measurement: Measurement, part: Part, run: Run) -> str:
    """One measurement as a line of JSON, with all that it takes to repeat it."""
    import torch

    from ganforge.measuring import for_json

    provider = {part.component.provider: part.component.version}
    return json.dumps(
        {
            "step": measurement.step,
            "metric": measurement.name,
            "figures": for_json(measurement.figures),
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
