"""A measurement: what a metric says of a run at one step, told to people and to programs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import frozen
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ganforge.errors import PluginError

if TYPE_CHECKING:
    from ganforge.interfaces import Metric
    from ganforge.runs import Run


@frozen
class Measurement:
    """Named figures, the protocol that they belong to, and how long they took.

    name: the metric's name in the recipe. seconds: of wall-clock time.
    """

    name: str
    step: int
    figures: Mapping[str, float]
    protocol: str
    seconds: float

    @classmethod
    def take(cls, name: str, metric: Metric, run: Run) -> Measurement:
        """Let a metric measure a run. Raises PluginError where it returns anything but figures,
        and whatever GanforgeError the metric raises."""
        started = time.perf_counter()
        measured = metric.measure(run)
        seconds = time.perf_counter() - started
        if not isinstance(measured, Mapping):
            raise PluginError(f"measure() returned {measured!r}, not a dict of named figures")
        try:
            figures = {str(key): float(value) for key, value in measured.items()}
        except (TypeError, ValueError) as error:
            raise PluginError(f"measure() returned what is no number: {error}") from error
        return cls(name, run.step, figures, metric.protocol(), seconds)

    def show(self, console: Console) -> None:
        """Print the figures as a small table, and how they came about."""
        console.print(Text(self.name, style="bold"), soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        for key, value in self.figures.items():
            table.add_row(Text(key), Text(figure_text(value)))
        console.print(Padding(table, (0, 0, 0, 2), expand=False))
        console.print(Text(self.protocol, style="dim"), soft_wrap=not console.is_terminal)


def figure_text(value: float) -> str:
    """A figure with about four digits, a small one with three."""
    if 0 < abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}"


def for_json(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON takes them: NaN and infinity, which it does not know, become null."""
    return {key: value if math.isfinite(value) else None for key, value in figures.items()}
