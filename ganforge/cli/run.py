"""`ganforge run RECIPE`: train, resume, or say that it is finished."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ganforge.cli.data import progress_bar
from ganforge.cli.data_summary import must_be_fetched, say_read
from ganforge.cli.options import (
    data_at,
    data_option,
    open_registry,
    plugin_options,
    print_warnings,
    recipe_options,
)
from ganforge.cli.tables import print_tables
from ganforge.data.summary import summary_of
from ganforge.interfaces.addresses import made_by
from ganforge.interfaces.errors import Elsewhere, GanforgeError
from ganforge.storage.run_folder import RunFolder
from ganforge.training.terminal import lasting

if TYPE_CHECKING:
    from ganforge.planning.plan import Plan
    from ganforge.training.launch import Outcome, Request

_INTERRUPTED = "interrupted by SIG"


@click.command()
@click.argument("recipe")
@recipe_options
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="the run folder; otherwise runs/NAME",
)
@click.option("--new", is_flag=True, help="a new folder beside one that is there")
@click.option("--replace", is_flag=True, help="move a folder that is there aside")
@click.option(
    "--accept-data", is_flag=True, help="continue although rows of the data were added or removed"
)
@data_option
@click.option("--device", metavar="D", help="auto, cpu, cuda, cuda:1 or mps")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="as train.precision")
@plugin_options
@click.pass_context
def command(
    ctx: click.Context,
    recipe: str,
    preview: bool,
    sets: tuple[str, ...],
    out: Path | None,
    new: bool,
    replace: bool,
    accept_data: bool,
    data: Path | None,
    device: str | None,
    precision: str | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Train a recipe: a path, or the name of a shipped one; or resume a run, by its folder.

    The same command again resumes where the run stopped, bit for bit. Ctrl-C saves first.
    """
    if new and replace:
        raise click.UsageError("--new and --replace cannot be combined")
    if device is not None:
        sets = (*sets, f'train.device="{device}"')
    if precision is not None:
        sets = (*sets, f'train.precision="{precision}"')
    sets = (*sets, *data_at(data))
    follows = int(os.environ.get("RANK", "0")) > 0  # torchrun's number of this process
    if follows:
        ctx.with_resource(redirect_stdout(io.StringIO()))
    with _once_a_machine():
        registry = open_registry(plugin_files, without)
        if recipe_of_run(recipe, registry.recipes()):
            recipe, out = _of_run(Path(recipe), out, preview)
        from ganforge.planning.compose import compose
        from ganforge.recipes.recipe import load

        loaded = load(recipe, preview=preview, sets=sets, shipped=registry.recipes())
        plan = compose(loaded, registry)
        print_warnings(registry)

    from ganforge.training.launch import (  # imports torch: only now that the recipe is right
        Request,
        launch,
    )

    request = Request(
        recipe=recipe,
        preview=preview,
        out=out,
        sets=sets,
        plugin_files=plugin_files,
        without=without,
        new=new,
        replace=replace,
        accept_data=accept_data,
    )
    if not follows:
        _report_data(request, plan)
    try:
        outcome = launch(request, click.echo, (registry, loaded, plan), progress_bar)
    except KeyboardInterrupt:
        if not follows:
            _report_immediate_stop(request, plan)
        ctx.exit(130)
    except Elsewhere as error:
        if not follows:
            raise
        ctx.exit(error.exit_status)
    except GanforgeError as error:
        if error.notes and not new:  # it was in the middle of the run, or can be got over
            error.notes = (
                *error.notes,
                f"resume with: {again(request, _folder_of(request, plan))}",
            )
        raise
    with lasting(outcome.folder.log):
        if outcome.stopped.startswith(_INTERRUPTED):
            _report_interruption(ctx, request, outcome)
        _report_end(request, outcome)


def _report_data(request: Request, plan: Plan) -> None:
    """What was read of the data, and what of it is likely not meant; nothing where the run is
    finished, and of what is still to be fetched, whose place other data may take."""
    steps = [] if request.new or request.replace else _folder_of(request, plan).checkpoint_steps()
    finished = bool(steps) and steps[-1] >= plan.steps
    if not finished and not must_be_fetched(plan):
        say_read(summary_of(plan.data, plan.played_domains()))


def recipe_of_run(name: str, shipped: Mapping[str, Path]) -> bool:
    """Whether what was asked for is the folder of a run."""
    return RunFolder(Path(name)).exists() and name.replace("_", "-") not in shipped


def _of_run(folder: Path, out: Path | None, preview: bool) -> tuple[str, Path]:
    """(the recipe, the run folder) that go on with a run."""
    if preview:
        raise click.UsageError(f"{folder} is a run, which has no preview: leave out --preview")
    return str(RunFolder(folder).resolved), out or folder


@contextmanager
def _once_a_machine() -> Iterator[None]:
    """What torchrun's processes find wrong with a recipe, the first one of each machine says."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        yield
        return
    try:
        with redirect_stderr(io.StringIO()):
            yield
    except GanforgeError as error:
        raise click.exceptions.Exit(error.exit_status) from error


def _report_interruption(ctx: click.Context, request: Request, outcome: Outcome) -> NoReturn:
    click.echo(f"\n{outcome.stopped} after step {outcome.step:,} of {outcome.plan.steps:,}; saved")
    click.echo(f"resume with: {again(request, outcome.folder)}")
    ctx.exit(_status(outcome.stopped.rpartition(" ")[2]))


def _status(name: str) -> int:
    """The exit status of a run that this signal stopped: 128 and its number, as shells count."""
    return 128 + signal.Signals["SIGINT" if name == "SIGBREAK" else name]


def _report_immediate_stop(request: Request, plan: Plan) -> None:
    """A second Ctrl-C, or one before the first step: nothing was saved at this moment."""
    folder = _folder_of(request, plan)
    saved = folder.checkpoint_steps()
    kept = f"the checkpoint of step {saved[-1]:,} is there" if saved else "nothing was saved yet"
    click.echo(f"\nstopped at once; {kept}", err=True)
    if not request.new:
        click.echo(f"resume with: {again(request, folder)}", err=True)


def _folder_of(request: Request, plan: Plan) -> RunFolder:
    """The run folder of a request, if it is not a new one."""
    name = plan.name + ("-preview" if plan.preview else "")
    return RunFolder(request.out or Path("runs") / name)


def _report_end(request: Request, outcome: Outcome) -> None:
    """The folder, what there is to look at, and what to do next."""
    folder, plan = outcome.folder, outcome.plan
    if not outcome.trained:
        steps = max(plan.steps, outcome.step)
        title = f"{folder.path} is already finished: {outcome.step:,} of {steps:,} steps"
    elif outcome.stopped:
        title = f"{folder.path} stopped after step {outcome.step:,}: {outcome.stopped}"
    else:
        title = f"{folder.path} is finished"
    click.echo("\n" + click.style(title, bold=True))
    rows = []
    sheets = folder.sheets()
    if sheets:
        rows.append(("newest sheet", str(sheets[-1])))
    animation = folder.samples / "progress.gif"
    if animation.exists():
        rows.append(("all sheets", str(animation)))
    if not outcome.trained:
        rows += [(name, f"{value:.4g}") for name, value in newest_metrics(folder).items()]
    if outcome.stand_in:
        rows.append(("data", outcome.stand_in))
    if rows:
        print_tables([("", rows)])
    click.echo("\n" + click.style("next", bold=True))
    for what, line in _next(request, outcome):
        click.echo(f"  {what:<20}  {click.style(line, fg='cyan')}")  # never cut: it is copied


def newest_metrics(folder: RunFolder) -> dict[str, float]:
    """The newest value of each metric, `NAME/FIGURE` -> value."""
    found: dict[str, float] = {}
    for line in folder.metric_lines():
        found |= {
            key.removeprefix("metric/"): value
            for key, value in line.items()
            if key.startswith("metric/") and isinstance(value, float)
        }
    return found


def _next(request: Request, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Three commands that make sense now, and what each is for."""
    folder, plan = outcome.folder, outcome.plan
    yield _look(request, plan, run_argument(folder))
    if outcome.stopped:
        yield "go on to the last step", again(request, folder)
    else:
        yield (
            "train twice as long",
            again(request, folder, f"train.steps={2 * max(plan.steps, outcome.step)}"),
        )
    if plan.preview:
        data = [a for a in request.sets if a.strip().startswith("data.")]
        words = [word for argument in data for word in ("--set", argument)]
        yield "play it in full", _joined(["run", str(request.recipe), *words, *_plugins(request)])
    else:
        yield "every run", "ganforge runs"


def _look(request: Request, plan: Plan, run: str) -> tuple[str, str]:
    """The command that shows what this game's generators do."""
    from ganforge.interfaces.specs import ImageSpec, TextSpec

    from_files = any(g.component.provider.endswith(".py") for g in plan.generators.values())
    plugins = _plugins(request) if from_files else []
    edges = [
        generator
        for generator in plan.generators.values()
        if isinstance(generator.source_specs[0], ImageSpec)
        and isinstance(generator.target_spec, ImageSpec)
        and sum(isinstance(spec, ImageSpec) for spec in generator.source_specs) == 1
        and made_by(generator.sources[0]) is None
    ]
    if edges:
        to = ["--to", edges[0].target] if len(edges) > 1 else []
        line = ["translate", run, *to, "PICTURES", "--out", "translated", *plugins]
        return "pictures of yours", _joined(line)
    last = list(plan.generators)[-1]  # of a chain, what it ends in
    which = ["--generator", last] if len(plan.generators) > 1 else []
    target = plan.generators[last].target_spec
    if isinstance(target, ImageSpec):
        return "more images", _joined(["sample", run, *which, "--count", "64", *plugins])
    if isinstance(target, TextSpec):
        return "more texts", _joined(["sample", run, *which, "--count", "20", *plugins])
    out = ["--out", f"{Path(run).name}.safetensors"]
    return "more of it", _joined(["sample", run, *which, "--count", "64", *out, *plugins])


def run_argument(folder: RunFolder) -> str:
    """What to write for RUN: the name where that finds it, else the folder."""
    named = (Path("runs") / folder.name).absolute() == folder.path.absolute()
    return folder.name if named and not Path(folder.name).exists() else str(folder.path)


def again(request: Request, folder: RunFolder, *more: str) -> str:
    """The command line that resumes a run. more: `--set` arguments instead of its own."""
    keys = {argument.partition("=")[0].strip() for argument in more}
    if "train.steps" in keys:
        keys.add("train.epochs")
    kept = [s for s in request.sets if s.partition("=")[0].strip() not in keys]
    if Path(request.recipe) == folder.resolved:
        words = ["run", str(folder.path)]
    else:
        words = ["run", str(request.recipe)]
        words += ["--preview"] if request.preview else []
        words += ["--out", str(folder.path)] if request.out is not None or request.new else []
    words += [word for argument in (*kept, *more) for word in ("--set", argument)]
    return _joined([*words, *_plugins(request)])


def _plugins(request: Request) -> list[str]:
    files = [word for file in request.plugin_files for word in ("--plugin-file", str(file))]
    return files + [word for name in request.without for word in ("--no-plugin", name)]


def _joined(words: list[str]) -> str:
    """A line to paste into this system's shell."""
    if os.name == "nt":
        return subprocess.list2cmdline(["ganforge", *words])
    return shlex.join(["ganforge", *words])
