"""`ganforge sweep RECIPE...`: recipes x values x seeds as ordinary runs, or a search among them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganforge.cli.options import open_registry, plugin_options, recipe_options, warn
from ganforge.interfaces.errors import DataError, GanforgeError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ganforge.planning.plan import Plan
    from ganforge.registry.registry import Registry
    from ganforge.sweeps.child_process import Child, End
    from ganforge.sweeps.grid import Command, Planned, Variation
    from ganforge.sweeps.pool import Pool

_MOST_LINES = 20  # of the live table, apart from the runs under way


@click.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True)
@click.option(
    "--vary",
    "vary",
    metavar="KEY=V,V,...",
    multiple=True,
    help="values of one key of the recipes; in a search also LOW..HIGH and LOW..HIGH:log",
)
@click.option("--seeds", metavar="S", help="such as 0-4 or 0,2,5 [the recipe's own]")
@click.option(
    "--jobs", metavar="N", type=click.IntRange(1, 1000), default=1, help="runs at a time [1]"
)
@click.option(
    "--out",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="the folder of all runs",
)
@recipe_options
@click.option(
    "--search", metavar="N", type=click.IntRange(min=1), help="search with N trials, not all values"
)
@click.option("--metric", metavar="NAME/FIGURE", help="the figure to search for")
@click.option("--minimize", is_flag=True, help="search for its smallest value")
@click.option("--maximize", is_flag=True, help="search for its largest value")
@click.option(
    "--storage",
    metavar="URL",
    help="the search's database, such as postgresql://HOST/NAME [a file in DIR]",
)
@plugin_options
@click.pass_context
def command(
    ctx: click.Context,
    recipes: tuple[str, ...],
    vary: tuple[str, ...],
    seeds: str | None,
    jobs: int,
    out: Path,
    preview: bool,
    sets: tuple[str, ...],
    search: int | None,
    metric: str | None,
    minimize: bool,
    maximize: bool,
    storage: str | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Train recipes with several values and seeds, each as an ordinary run in a process of its own.

    A run lies in DIR/RECIPE/KEY=VALUE/seed-N. Runs of one seed see the same data in the same
    order and draw the same noise, so they are compared in pairs. The same command again skips what
    is finished and goes on with the rest. Ctrl-C saves first.

    With --search, Optuna chooses among the values, and stops trials that fall behind.
    """
    from ganforge.sweeps import folder, grid

    chosen = _chosen(vary, sets, seeds)
    given = None if seeds is None else grid.seeds_of(seeds)
    every = grid.Command(out, preview, sets, plugin_files, without)
    _refuse(search, {"--metric": metric, "--minimize": minimize, "--maximize": maximize}, storage)
    registry = open_registry(plugin_files, without)
    if search is not None:
        direction = "minimize" if minimize else "maximize"
        assert metric is not None
        pool = _searching(
            registry, every, recipes, chosen, given, jobs, search, metric, direction, storage
        )
    else:
        runs = grid.grid(registry, every, recipes, chosen, given)
        _print_warnings(registry)
        grid.refuse_other_games(runs)
        folder.open_folder(out, None)
        click.echo(_size(runs, jobs))
        _fetch([run.plan for run in runs if not run.done()])
        pool = _playing(every, runs, jobs)
        _report_end(pool, runs)
    if pool.interrupted:
        click.echo("the same command again continues")
        ctx.exit(130)
    if any(end.how == "failed" for end in pool.ends.values()):
        ctx.exit(1)


# --- what is asked for ----------------------------------------------------------------------------


def _chosen(vary: Sequence[str], sets: Sequence[str], seeds: str | None) -> list[Variation]:
    from ganforge.sweeps import grid

    chosen = [grid.varied(argument) for argument in vary]
    keys = [variation.key for variation in chosen]
    fixed = [argument.partition("=")[0].strip() for argument in sets]
    for key in keys:
        if keys.count(key) > 1:
            raise GanforgeError(f"--vary {key} is given twice: write all values after one")
        if key in fixed:
            raise GanforgeError(f"--vary {key} and --set {key} cannot be combined")
    if seeds is not None and grid.SEED in fixed:
        raise GanforgeError("--seeds and --set train.seed cannot be combined")
    return chosen


def _refuse(search: int | None, asked: dict[str, object], storage: str | None) -> None:
    """Raises GanforgeError for options of a search without one, and for what one lacks."""
    if search is None:
        asked = {**asked, "--storage": storage}
        stray = next((name for name, value in asked.items() if value), None)
        if stray is not None:
            raise GanforgeError(f"{stray} is for a search: say how many trials with --search N")
        return
    if not asked["--metric"]:
        raise GanforgeError("--search needs --metric NAME/FIGURE, the figure to search for")
    if bool(asked["--minimize"]) == bool(asked["--maximize"]):
        raise GanforgeError("--search needs one of --minimize and --maximize")


def _print_warnings(registry: Registry) -> None:
    """Each once, however many plans it concerns."""
    for line in dict.fromkeys(registry.warnings):
        warn(line)
    registry.warnings.clear()


def _fetch(plans: Sequence[Plan]) -> None:
    """Bring the data before runs begin that would all want it at once. Raises DataError."""
    from ganforge.cli.data import progress_bar
    from ganforge.data.archives import FetchOptions
    from ganforge.data.download import prepare

    for plan in plans:
        options = plan.data.options
        if not isinstance(options, FetchOptions) or not options.must_fetch():
            continue
        click.echo(f"fetching {options.fetch} into {options.root}")
        try:
            with progress_bar(f"fetching {options.fetch}", bytes_=True) as on_progress:
                prepare(options, on_progress=on_progress)
        except DataError:
            if getattr(options, "fallback", None) is None:
                raise
            return  # each run says so, and takes what stands in


def _size(runs: Sequence[Planned], jobs: int) -> str:
    done = sum(run.done() for run in runs)
    steps = sum(run.plan.steps for run in runs if not run.done())
    rest = f", {done} of them already finished" if done else ""
    at_once = f", {min(jobs, len(runs))} at a time" if jobs > 1 and len(runs) > 1 else ""
    return f"{len(runs)} run{'s' * (len(runs) != 1)}{rest}; {steps:,} steps to go{at_once}"


# --- playing --------------------------------------------------------------------------------------


def _playing(every: Command, runs: Sequence[Planned], jobs: int) -> Pool:
    from ganforge.sweeps.pool import Listed, Pool

    with _shown(len(runs)) as shown:
        pool = Pool(every, Listed(runs), shown, jobs)
        pool.play()
    return pool


def _searching(
    registry: Registry,
    every: Command,
    recipes: Sequence[str],
    chosen: Sequence[Variation],
    seeds: Sequence[int] | None,
    jobs: int,
    trials: int,
    metric: str,
    direction: str,
    storage: str | None,
) -> Pool:
    from ganforge.sweeps import folder, search
    from ganforge.sweeps.pool import Pool

    space = search.Space.of(registry, every, recipes, chosen, seeds, metric)
    _print_warnings(registry)
    where = "file" if storage is None else "database"
    asked = {"metric": space.metric, "direction": direction, "trials": where}
    if storage is None:
        folder.open_folder(every.out, asked)
    study = search.study_of(every.out, space, direction, storage)
    folder.open_folder(every.out, asked)  # once the database was found to be there
    source = search.Search(registry, every, space, study, trials, storage)
    _fetch(space.plans)
    if not space.measured:
        click.echo(
            "every trial is played to its end: --set hooks.metrics.evaluate=N measures earlier"
        )
    with _shown(trials) as shown:
        pool = Pool(every, source, shown, jobs)
        pool.play()
    _report_failures(pool)
    for line in source.best():
        click.echo(line)
    return pool


def _report_end(pool: Pool, runs: Sequence[Planned]) -> None:
    """Counts, failures, and the figures of all groups."""
    from ganforge.cli.results_table import print_results

    out = pool.command.out
    hows = [end.how for end in pool.ends.values()]
    counts = [f"{hows.count(how)} {how}" for how in dict.fromkeys(hows)]
    waiting = len(runs) - len(hows)
    click.echo("\n" + ", ".join([*counts, *([f"{waiting} waiting"] if waiting else [])]))
    _report_failures(pool)
    there = [run.folder for run in runs if run.folder.exists() and run.folder.metrics.exists()]
    if there:
        click.echo("")
        print_results(out, there)
    groups = dict.fromkeys(run.name.rpartition("/")[0] for run in runs)
    if len(groups) > 1 and there:
        where = f'"{out}"' if " " in str(out) else out
        click.echo(f"\ndifferences: ganforge runs {where} --baseline {next(iter(groups))}")


def _report_failures(pool: Pool) -> None:
    for name, end in pool.ends.items():
        if end.how == "failed":
            log = pool.command.out.joinpath(*name.split("/"))
            click.secho("failed", fg="red", bold=True, err=True, nl=False)
            click.echo(f": {name}: {end.reason} ({log}.log)", err=True)


# --- showing --------------------------------------------------------------------------------------


def _shown(count: int) -> Lines | Screen:
    return Screen(count) if sys.stdout.isatty() else Lines(count)


class Lines:
    """A line when a run begins and one when it ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def began(self, child: Child) -> None:
        saved = child.run.folder.checkpoint_steps()
        click.echo(f"{child.run.name}: {f'goes on at step {saved[-1]:,}' if saved else 'begins'}")

    def ended(self, run: Planned, end: End) -> None:
        self._done += 1
        reason = f": {end.reason}" if end.reason else ""
        click.echo(f"{run.name}: {end.how}{reason} ({self._done} of {self._count})")

    def went_on(self, children: Sequence[Child]) -> None:
        pass


class Screen:
    """A table that is drawn anew: what plays now, and how the newest of the others ended."""

    def __init__(self, count: int) -> None:
        from rich.live import Live

        self._count = count
        self._ends: dict[str, End] = {}
        self._live = Live(refresh_per_second=2)

    def __enter__(self) -> Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.update(self._table(()))
        self._live.__exit__(None, None, None)

    def began(self, child: Child) -> None:
        pass

    def ended(self, run: Planned, end: End) -> None:
        self._ends[run.name] = end

    def went_on(self, children: Sequence[Child]) -> None:
        self._live.update(self._table(children))

    def _table(self, children: Sequence[Child]) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        for name, justify in (("run", "left"), ("state", "left"), ("steps", "right")):
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        table.add_column("left", justify="right")
        for name, end in list(self._ends.items())[-_MOST_LINES:]:
            style = {"failed": "red", "finished": "green"}.get(end.how, "yellow")
            table.add_row(Text(name), Text(end.how, style=style), "", Text(end.reason, style="dim"))
        for child in children:
            at = max(child.tail.step, child.first_step or 0)
            steps = f"{at:,}/{child.run.plan.steps:,}"
            state = "stopping" if child.asked else "training"
            table.add_row(Text(child.run.name, style="cyan"), state, steps, _left(child))
        waiting = self._count - len(self._ends) - len(children)
        if waiting > 0:
            table.add_row(Text(f"{waiting} waiting", style="dim"), "", "", "")
        return table


def _left(child: Child) -> str:
    """How long a run will take, as far as it went until now."""
    if child.first_step is None or child.tail.step <= child.first_step:
        return ""
    pace = (time.monotonic() - child.first_seen) / (child.tail.step - child.first_step)
    seconds = round(pace * (child.run.plan.steps - child.tail.step))
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
