"""`ganforge bench RECIPE`: how long a step takes here, and which switches make it shorter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ganforge.cli.data import progress_bar
from ganforge.cli.options import compose_recipe, recipe_options, with_registry
from ganforge.cli.tables import print_tables

if TYPE_CHECKING:
    from ganforge.planning.plan import Plan
    from ganforge.registry.registry import Registry
    from ganforge.training.benchmark import Timed

# Hooks that write and show: they take next to nothing of a step, and here nothing is written.
_WRITING = ("progress", "metrics", "checkpoint", "samples", "tensorboard", "collapse-alarm")


@click.command()
@click.argument("recipe")
@recipe_options
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=3600),
    default=60.0,
    show_default=True,
    help="how long to measure",
)
@click.option("--compile", "compiles", is_flag=True, help="try torch.compile too, for minutes")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_registry
def command(
    registry: Registry,
    recipe: str,
    preview: bool,
    sets: tuple[str, ...],
    seconds: float,
    compiles: bool,
    as_json: bool,
) -> None:
    """Time a recipe's steps on this machine.

    Precision, memory layout, threads and what multiplies matrices are changed one at a time, each
    timed in turn with the recipe as it is. Ends with the lines to put into the recipe. Nothing is
    written.
    """
    plan = compose_recipe(registry, recipe, preview=preview, sets=sets)
    quiet = (f"hooks.{n}.off=true" for n, h in plan.hooks.items() if h.component.name in _WRITING)
    sets = (*sets, *quiet)
    plan = compose_recipe(registry, recipe, preview=preview, sets=sets)

    from ganforge.training.benchmark import (
        bench,  # imports torch: only now that the recipe is right
    )
    from ganforge.training.launch import Request, with_data

    request = Request(recipe=recipe, preview=preview, sets=sets)
    plan, _ = with_data(request, registry, plan, click.echo, progress_bar)
    found = bench(plan, registry, seconds, progress_bar, compiles=compiles)
    if as_json:
        click.echo(json.dumps([_as_json(plan, one) for one in found], indent=2))
    else:
        _show(plan, found)


def _as_json(plan: Plan, timed: Timed) -> dict[str, Any]:
    return {
        "train": timed.way.lines,
        "milliseconds": timed.milliseconds,
        "images_per_second": _images_per_second(plan, timed),
        "ratio": timed.ratio,
        "rounds": timed.rounds,
        "waiting": timed.waiting,
        "preparing": timed.preparing,
    }


def _images_per_second(plan: Plan, timed: Timed) -> float:
    """Real images, or other rows, that each discriminator sees."""
    first = plan.phase_at(1)
    return plan.train.batch * max(1, first.discriminator_steps) / timed.milliseconds * 1e3


def _show(plan: Plan, found: list[Timed]) -> None:
    from ganforge.hardware import machine

    usual = machine.decide(plan.train).locked()
    usual_text = ", ".join(f"{key} {value}" for key, value in usual.items())
    first = plan.phase_at(1)
    name = f", phase '{first.name}'" if len(plan.phases) > 1 else ""
    title = f"{plan.name}: batch {plan.train.batch}{name}"
    heading = ("", "ms per step", "images/s", "times as fast", "rounds")
    rows = [_row(plan, one, usual_text) for one in found]
    print_tables([(title, [heading, *rows])])
    click.echo()
    if found[0].waiting:
        click.echo(f"as it is, {found[0].waiting:.1%} of a step is spent waiting for data")
    for one in found:
        if one.way.compile and len(one.way.lines) == 1:
            click.echo(_worth(plan, one, found[0]))
    for line in _advice(found):
        click.echo(line)


def _row(plan: Plan, timed: Timed, usual: str) -> tuple[str, ...]:
    lines = timed.way.lines.items()
    changed = ", ".join(f"{key} {json.dumps(value).strip(chr(34))}" for key, value in lines)
    return (
        changed or f"as it is: {usual}",
        f"{timed.milliseconds:.1f}",
        f"{_images_per_second(plan, timed):,.0f}",
        f"{timed.ratio:.2f}",
        str(timed.rounds),
    )


def _worth(plan: Plan, compiled: Timed, usual: Timed) -> str:
    """From when on compiling has paid for itself."""
    took = max(0.0, compiled.preparing - usual.preparing)
    gained = usual.milliseconds * (1 - 1 / compiled.ratio) / 1e3  # seconds a step
    cost = f"compiling took {took:.0f} s"
    if gained <= 0:
        return f"{cost} and gains nothing"
    return f"{cost}: it pays after {took / gained:,.0f} steps; this run has {plan.steps:,}"


def _advice(found: list[Timed]) -> Iterator[str]:
    """The lines to put into the recipe."""
    from ganforge.training.benchmark import GAIN

    best = max(found, key=lambda one: one.ratio)
    if best.ratio <= 1 + GAIN:
        yield f"as it is, nothing that was tried is more than {GAIN:.0%} faster"
        return
    yield f"{best.ratio:.2f} times as fast with"
    yield "[train]"
    for key, value in best.way.lines.items():
        yield f"{key} = {json.dumps(value)}"
