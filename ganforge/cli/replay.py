"""`ganforge replay SNAPSHOT`: replay a turn that was not finite, and show where it broke."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganforge.cli.options import open_registry, plugin_options, print_warnings
from ganforge.cli.tables import print_tables
from ganforge.interfaces.errors import TrainingError

if TYPE_CHECKING:
    from ganforge.game.nan_examination import Findings
    from ganforge.training.failed_turn import Failure


@click.command()
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option("--device", metavar="D", help="auto, cpu, cuda or mps; otherwise the run's own")
@plugin_options
def command(
    snapshot: Path, device: str | None, plugin_files: tuple[Path, ...], without: tuple[str, ...]
) -> None:
    """Replay the turn that stopped a run.

    SNAPSHOT is a folder RUN/failed/step-N. Shows each loss term, the gradients' norms and the first
    layer that is not finite. The data need not be there: the batch is in the snapshot.
    """
    from ganforge.planning.compose import compose
    from ganforge.recipes.recipe import load
    from ganforge.training import failed_turn as failures  # imports torch

    failure = failures.read(snapshot)
    registry = open_registry(plugin_files, without)
    failure.run.resolved_tables()  # refused by its own words where it is missing
    plan = compose(load(failure.run.resolved), registry, offline=True)
    print_warnings(registry)
    game = failures.build(failure, plan, registry, device)
    _show(failure, findings := failures.replay(failure, game))
    _judge(failure, findings, failures.elsewhere(failure, game))


def _show(failure: Failure, findings: Findings) -> None:
    from ganforge.game.nan_examination import TOGETHER
    from ganforge.game.nan_guard import called

    at = failure.at
    title = f"{failure.run.name}, step {at.step:,}: {at.side} turn, batch {at.update:,}"
    click.secho(title, bold=True)
    losses = [(name, _number(value)) for name, value in findings.terms.items()]
    norms = [
        (called(address), name, _number(norm))
        for address, of in findings.norms.items()
        for name, norm in of.items()
        if name != TOGETHER or len(of) > 2
    ]
    print_tables(
        [("\nloss terms, means before their weights", losses), ("norms of gradients", norms)]
    )
    click.secho("\nnot finite", bold=True)
    for line in _broken(findings) or ["nothing"]:
        click.echo(f"  {line}")


def _broken(findings: Findings) -> list[str]:
    def lines() -> Iterator[str]:
        if findings.layer:
            yield f"first: {findings.layer}"
        elif findings.broken_terms:
            yield "every layer's output is finite; the loss's own maths is not"
        yield from findings.broken_terms
        for what, names in (
            ("weights before the turn", findings.weights),
            ("gradients", findings.gradients),
            ("weights after the update", findings.updated),
        ):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                yield f"{what}: {', '.join(names[-3:][::-1])}{more}"

    return list(lines())


def _judge(failure: Failure, findings: Findings, elsewhere: Sequence[str]) -> None:
    """Say whether it is what happened. Raises TrainingError where it is not."""
    from ganforge.training.failed_turn import difference

    differs = difference(failure, findings)
    if not differs:
        click.echo("\nreproduced, bit for bit")
        return
    why = f" ({', '.join(elsewhere)})" if elsewhere else ""
    if differs == "numbers":
        click.echo(f"\nthe same values are not finite as in the run, but the numbers differ{why}")
        return
    raise TrainingError(f"not reproduced{why}: in the run it was {_then(failure.found)}")


def _then(found: Mapping[str, object]) -> str:
    keys = ("terms", "weights", "gradients", "updated")
    names = [f"{key} {len(value)}" for key in keys if isinstance(value := found.get(key), list)]
    return f"{found.get('layer') or 'in no layer'} ({', '.join(names)} not finite)"


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else str(value)
