"""A measurement: what a metric says of a run at one step, told to people and to programs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from attrs import frozen
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ganforge.interfaces.errors import PluginError

if TYPE_CHECKING:
    from ganforge.interfaces.components import Metric
    from ganforge.interfaces.manifest import Component
    from ganforge.runs.run import Run


@frozen
class Measurement:
    """Named figures, the protocol that they belong to, and how long they took.

    name: the metric's name in the recipe. seconds: of wall-clock time. repeats: the measurements
    that the figures are means of; none where they were measured once.
    """

    name: str
    step: int
    figures: Mapping[str, float]
    protocol: str
    seconds: float
    repeats: Sequence[Measurement] = ()

    @classmethod
    def mean(cls, repeats: Sequence[Measurement], how: str) -> Measurement:
        """The mean of two or more measurements of the same metric and step, figure by figure. Its
        protocol is that of the first, and `how` the others differ."""
        first = repeats[0]
        figures = {
            key: statistics.fmean(repeat.figures[key] for repeat in repeats)
            for key in first.figures
            if all(key in repeat.figures for repeat in repeats)
        }
        seconds = sum(repeat.seconds for repeat in repeats)
        protocol = f"{first.protocol}; {how}"
        return cls(first.name, first.step, figures, protocol, seconds, tuple(repeats))

    def each(self, key: str) -> list[float]:
        """What a figure was in each of the repeats."""
        return [repeat.figures[key] for repeat in self.repeats]

    def interval(self, key: str) -> float:
        """Half the width of the 95 % interval of a mean by Student's t: it is from the figure less
        this to the figure and this."""
        from scipy.special import stdtrit

        values = self.each(key)
        if not all(map(math.isfinite, values)):
            return math.nan
        n = len(values)
        return float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / math.sqrt(n)

    def half_text(self, key: str) -> str:
        """`± 0.12`, or nothing where a figure was measured once or does not vary."""
        half = self.interval(key) if self.repeats else 0.0
        return f"± {figure_text(half)}" if half else ""

    @classmethod
    def take(
        cls,
        name: str,
        metric: Metric | Callable[[], Metric],
        run: Run,
        component: Component | None = None,
    ) -> Measurement:
        """Let a metric, or what makes one, measure a run. Raises PluginError where it returns
        anything but figures, and whatever GanforgeError the metric raises; with its component,
        other errors of a third party's metric are PluginErrors, too, which name it."""
        from ganforge.game.error_attribution import attributing_errors, defined_at

        def wrong(what: str, method: str = "measure") -> PluginError:
            if component is None:
                return PluginError(f"{method}() returned {what}")
            who = f"metric '{component.name}' of {component.provider}"
            return PluginError(f"{who} returned {what}{defined_at(component, method)}")

        started = time.perf_counter()
        with nullcontext() if component is None else attributing_errors(component):
            measuring: Any = metric if hasattr(metric, "measure") else metric()
            measured = measuring.measure(run)
        seconds = time.perf_counter() - started
        if not isinstance(measured, Mapping):
            raise wrong(f"{measured!r}, not a dict of named figures")
        if not measured:
            raise wrong("no figures")
        try:
            figures = {str(key): float(value) for key, value in measured.items()}
        except (TypeError, ValueError, RuntimeError) as error:
            raise wrong(f"what is no number: {error}") from error
        with nullcontext() if component is None else attributing_errors(component):
            protocol = measuring.protocol()
        if not isinstance(protocol, str):
            raise wrong(f"{protocol!r} as its protocol, not a line of text", "protocol")
        return cls(name, run.step, figures, protocol, seconds)

    def show(self, console: Console) -> None:
        """Print the figures as a small table, and how they came about."""
        console.print(Text(self.name, style="bold"), soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        for key, value in self.figures.items():
            half = self.half_text(key)
            table.add_row(Text(key), Text(figure_text(value)), *([Text(half)] if half else []))
        console.print(Padding(table, (0, 0, 0, 2), expand=False))
        console.print(Text(self.protocol, style="dim"), soft_wrap=not console.is_terminal)


def figure_text(value: float) -> str:
    """A figure with about four digits, a small one with three."""
    if 0 < abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}"


def difference(first: str, second: str) -> str:
    """Where two protocols part, in a line; "" where they are the same. Clauses end with `; `."""
    mine, others = first.split("; "), second.split("; ")
    only = [clause for clause in mine if clause not in others]
    only_other = [clause for clause in others if clause not in mine]
    if first == second:
        return ""
    return f"{_quoted(only)} against {_quoted(only_other)}"


def _quoted(clauses: Sequence[str]) -> str:
    return f"'{'; '.join(clauses)}'" if clauses else "nothing said"


def for_json(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON takes them: NaN and infinity, which it does not know, become null."""
    return {key: or_null(value) for key, value in figures.items()}


def or_null(value: float) -> float | None:
    """A number as JSON takes it."""
    return value if math.isfinite(value) else None
