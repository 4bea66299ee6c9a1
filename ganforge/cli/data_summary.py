"""The summary of what was read, as commands print it."""

from __future__ import annotations

import click

from ganforge.cli.options import warn
from ganforge.data.summary import Summary, summary_of
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import Impossible
from ganforge.planning.plan import Plan


def say_read(read: Summary) -> None:
    """Rows, classes, what was left out and values, labelled `data`; warnings on standard error."""
    for number, line in enumerate(read.lines()):
        click.echo(f"{'' if number else 'data':<4}  {line}")
    say_doubts(read)


def say_doubts(read: Summary) -> None:
    """The warnings alone."""
    for text in read.warnings:
        warn(text)


def must_be_fetched(plan: Plan) -> bool:
    """Whether a plan's data is still to be downloaded, so that nothing can be said of it."""
    return bool(getattr(plan.data.options, "must_fetch", lambda: False)())


def summary_now(plan: Plan) -> Summary | None:
    """The summary of an opened run's data as it is now, which its plan knows as it was; None where
    it is not here: whatever reads it says so."""
    from attrs import evolve

    describe = plan.data.component.describe
    if describe is None or must_be_fetched(plan):
        return None
    try:
        description = describe(plan.data.options, plan.data.image)
    except (Impossible, GanforgeError):
        return None
    return summary_of(evolve(plan.data, description=description), plan.played_domains())
