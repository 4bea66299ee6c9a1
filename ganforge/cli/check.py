"""`ganforge check RECIPE`: every mistake of a recipe, before anything is built; or of a plugin."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ganforge.cli.data import progress_bar
from ganforge.cli.options import compose_recipe, recipe_options, warn, with_registry
from ganforge.cli.tables import Row, print_tables
from ganforge.data.summary import Summary, summary_of
from ganforge.interfaces.addresses import name_of
from ganforge.planning.plan import GeneratorPlan, LossPlan, Part, Plan
from ganforge.recipes.problems import RecipeError, to_json
from ganforge.registry.registry import Registry

if TYPE_CHECKING:
    from ganforge.training.memory_estimate import Forecast

# Environment variables without which PyTorch's profiler speaks of itself.
_QUIET = {"KINETO_LOG_LEVEL": "6", "TORCH_CPP_LOG_LEVEL": "ERROR"}


@click.command()
@click.argument("recipe", required=False)
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option(
    "--build", is_flag=True, help="build it too, play a step, and say how much memory a run takes"
)
@click.option(
    "--plugin",
    "plugin",
    metavar="NAME",
    help="try every component of an installed plugin or plugin file, instead of a recipe",
)
@with_registry
@click.pass_context
def command(
    ctx: click.Context,
    registry: Registry,
    recipe: str | None,
    preview: bool,
    sets: tuple[str, ...],
    as_json: bool,
    build: bool,
    plugin: str | None,
) -> None:
    """Check a recipe: a path, or the name of a shipped one.

    Every mistake is shown with its place; exit status 2 if there are any. Nothing is built.

    With --build, data and networks are built as for a run, and a step is played with few rows of
    the batch. Nothing is kept but data that had to be fetched.

    With --plugin, every component of a plugin goes through the checks that ganforge.testing has
    for its kind; exit status 1 if one fails.
    """
    if (recipe is None) == (plugin is None):
        raise click.UsageError("name a recipe, or a plugin with `--plugin NAME`")
    if recipe is None:
        from ganforge.cli.plugin_check import check_plugin

        ctx.exit(check_plugin(registry, str(plugin), as_json))
    try:
        plan = compose_recipe(registry, recipe, preview=preview, sets=sets, starts=True)
    except RecipeError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "problems": to_json(error.problems)}, indent=2))
        ctx.exit(error.exit_status)
    read = summary_of(plan.data, plan.played_domains())
    if not as_json:
        _print(plan, _run_line(ctx.params), read)
    needed = _forecast(registry, plan, ctx.params) if build else None
    if as_json:
        report = {"ok": True, "name": plan.name, "steps": plan.steps, "problems": []}
        report["data"] = read.as_json()
        if needed:
            report |= {"memory": {"peak": needed.peak, **needed.by_part()}}
            report |= {"frozen": {name: count for name, (_, count) in needed.frozen.items()}}
        click.echo(json.dumps(report, indent=2))


def _forecast(registry: Registry, plan: Plan, params: Mapping[str, Any]) -> Forecast:
    """What a run needs of memory; said, unless JSON was asked for, with what to do where it is more
    than there is."""
    for name, level in _QUIET.items():
        os.environ.setdefault(name, level)
    from ganforge.hardware import machine  # imports torch: only where something is built
    from ganforge.training.launch import Request, with_data
    from ganforge.training.memory_estimate import forecast, room

    quiet = params["as_json"]
    request = Request(recipe=params["recipe"], preview=params["preview"], sets=params["sets"])
    say = partial(click.echo, err=True) if quiet else click.echo
    plan, _ = with_data(request, registry, plan, say, progress_bar)
    decided = machine.decide(plan.train)
    needed = forecast(plan, registry, decided, progress_bar)
    if not quiet:
        click.echo(f"\n{needed}")
        for address, (whole, frozen) in needed.frozen.items():
            click.echo(f"frozen: {frozen:,} of {whole:,} parameters of {address}")
    free = room(decided.device)
    if needed.peak > free > 0:
        warn(needed.advice(free))
    return needed


def _run_line(params: Mapping[str, Any]) -> str:
    """The command that trains what was checked, as a shell takes it."""
    words = ["ganforge", "run", params["recipe"]]
    for option, name in (("--set", "sets"), ("--plugin-file", "plugin_files")):
        words += [word for value in params[name] for word in (option, str(value))]
    return shlex.join(words)


def _print(plan: Plan, line: str, read: Summary) -> None:
    name = plan.name + (" (preview)" if plan.preview else "")
    click.echo(click.style(name, bold=True) + ": no mistakes\n")
    print_tables([("", list(summary(plan, read)))])
    for text in read.warnings:
        warn(text)
    click.echo(f"\ntrain it with `{line}{' --preview' if plan.preview else ''}`")
    if plan.has_preview and not plan.preview:
        click.echo(f"or a small version first with `{line} --preview`")


def summary(plan: Plan, read: Summary) -> Iterator[Row]:
    """A plan in a few labelled lines: the game as a graph, losses, data, length."""
    edges = [_edge(plan, generator) for generator in plan.generators.values()]
    yield from _labelled("game", edges)
    yield from _labelled("losses", [_loss(loss) for loss in plan.losses.values()])
    yield from _labelled("augmentors", [_part(part) for part in plan.augmentors.values()])
    yield from _labelled("data", list(read.lines()))
    yield from _labelled("length", [_length(plan)])
    if len(plan.phases) > 1:
        yield from _labelled(
            "phases", [f"{p.name}: steps {p.first:,} to {p.last:,}" for p in plan.phases]
        )
    yield from _labelled("metrics", [_part(part) for part in plan.metrics.values()])


def _labelled(label: str, lines: list[str]) -> Iterator[Row]:
    for number, line in enumerate(lines):
        yield ("" if number else label, line)


def _edge(plan: Plan, generator: GeneratorPlan) -> str:
    sources = " + ".join(name_of(source) for source in generator.sources)
    discriminators = [d.name for d in plan.discriminators.values() if d.on == generator.target]
    judged = f"  judged by {', '.join(discriminators)}" if discriminators else ""
    edge = f"{sources} -> {generator.name} -> {generator.target}"
    return (
        f"{edge}{judged}  "
        f"({generator.component.name}{_discriminator_components(plan, discriminators)})"
    )


def _discriminator_components(plan: Plan, discriminators: list[str]) -> str:
    names = dict.fromkeys(plan.discriminators[name].component.name for name in discriminators)
    return f" against {', '.join(names)}" if names else ""


def _part(part: Part) -> str:
    same = part.name == part.component.name
    return part.name if same else f"{part.name} ({part.component.name})"


def _loss(loss: LossPlan) -> str:
    weight = _weight(loss.weight)
    return f"{_part(loss)}{weight}" + (f", every {loss.every} updates" if loss.every > 1 else "")


def _weight(weight: Mapping[str, float]) -> str:
    values = set(weight.values())
    if len(values) == 1:
        (value,) = values
        return "" if value == 1 else f" x {value:g}"
    return " x " + ", ".join(f"{value:g} ({side})" for side, value in weight.items())


def _length(plan: Plan) -> str:
    train = plan.train
    many = train.discriminator_steps
    critic = f", {many} discriminator steps each" if many > 1 else ""
    return f"{plan.steps:,} steps of batch {train.batch}{critic}"
