"""`ganforge check --plugin NAME`: every check of every component of a plugin, without pytest."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from ganforge.interfaces.errors import GanforgeError
from ganforge.registry.registry import Registry

if TYPE_CHECKING:
    from ganforge.testing import Case


@frozen
class Outcome:
    """How one check went: "passed", "failed" or "not tried", and why."""

    component: str
    check: str
    promise: str
    result: str
    reason: str = ""


def check_plugin(registry: Registry, name: str, as_json: bool) -> int:
    """Run and print all checks of a plugin. Returns the exit status, 1 where one failed."""
    from ganforge.testing import cases_of

    outcomes = []
    for component, group in groupby(cases_of(name, registry=registry), lambda c: c.component):
        title = f"{component.kind}/{component.name}"
        found = [_outcome(title, case) for case in group]
        outcomes += found
        if not as_json:
            _print(title, found)
    failed = sum(outcome.result == "failed" for outcome in outcomes)
    if as_json:
        checks: list[dict[str, Any]] = [
            {field: getattr(outcome, field) for field in Outcome.__annotations__}
            for outcome in outcomes
        ]
        click.echo(json.dumps({"ok": not failed, "checks": checks}, indent=2))
    else:
        passed = sum(outcome.result == "passed" for outcome in outcomes)
        untried = len(outcomes) - passed - failed
        more = f", {untried} not tried" if untried else ""
        click.echo(f"\n{passed} checks passed, {failed} failed{more}")
    return 1 if failed else 0


def _outcome(title: str, case: Case) -> Outcome:
    from ganforge.testing import NotTried

    result, reason = "passed", ""
    try:
        case.run()
    except NotTried as error:
        result, reason = "not tried", str(error)
    except (AssertionError, GanforgeError) as error:
        result, reason = "failed", str(error)
    except Exception as error:  # the plugin's own code raised: say where
        from ganforge.game.error_attribution import raised_by

        result, reason = "failed", raised_by(case.component, error)
    return Outcome(title, case.check, case.promise, result, reason)


_COLOURS = {"passed": "green", "failed": "red", "not tried": "yellow"}


def _print(title: str, outcomes: list[Outcome]) -> None:
    click.secho(title, bold=True)
    for outcome in outcomes:
        word = click.style(f"{outcome.result:<9}", fg=_COLOURS[outcome.result])
        click.echo(f"  {word}  {outcome.check}")
        if outcome.reason:
            click.echo(f"             {outcome.reason}")
            if outcome.result == "failed":
                click.echo(f"             promised: {outcome.promise}")
