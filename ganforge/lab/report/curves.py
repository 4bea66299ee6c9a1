"""What runs logged as curves that a page draws: one chart for each panel of a run; of several runs
one for each line of a panel, where the runs lie over each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from ganforge.lab.charts import (
    COLOURS,
    DASHES,
    Array,
    Line,
    Log,
    Panel,
    chosen_panels,
    extremes,
    smoothed,
    usual_panels,
)

_POINTS = 6000  # of the curves of one chart; but a curve has at least 500 and at most 1,500
_METRICS = 12  # charts of metrics over steps


@frozen
class Curve:
    """One line of a chart. run: its number in the report. dash: as SVG writes dashes, "" for none.

    steps, values: as logged. smooth_steps, smooth: a running median over `window` of them.
    """

    run: int
    label: str
    colour: str
    dash: str
    steps: list[int]
    values: list[float | None]
    smooth_steps: list[int]
    smooth: list[float | None]
    window: int

    @property
    def summary(self) -> tuple[float | None, float | None, float | None, float | None]:
        """First, smallest, largest and last of the smoothed values, for who cannot see it."""
        known = [value for value in self.smooth if value is not None]
        return (known[0], min(known), max(known), known[-1]) if known else (None,) * 4


@frozen
class Chart:
    """Curves that share axes. share: from 0 to 1. limits: of the values at first sight."""

    title: str
    curves: tuple[Curve, ...]
    share: bool
    limits: tuple[float, float] | None

    def for_page(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {
            "title": self.title,
            "limits": self.limits,
            "curves": [
                {
                    "run": c.run,
                    "label": c.label,
                    "colour": c.colour,
                    "dash": c.dash,
                    "x": c.steps,
                    "y": c.values,
                    "smoothX": c.smooth_steps,
                    "smoothY": c.smooth,
                    "window": c.window,
                }
                for c in self.curves
            ],
        }


def style_of(run: int) -> tuple[str, str]:
    """Colour and dash of a run among several."""
    return COLOURS[run % len(COLOURS)], _dash(DASHES[run // len(COLOURS) % len(DASHES)])


def charts(logs: Sequence[Log | None]) -> list[Chart]:
    """The charts of runs; one that has logged nothing yet has no curves."""
    there = [log for log in logs if log is not None]
    if not there:
        return []
    panels = [*usual_panels(there), *_metric_panels(there)]
    alone = len(logs) == 1
    found = [_chart(panel, logs) for panel in (panels if alone else _each_line(panels))]
    return [chart for chart in found if chart.curves]


def _each_line(panels: Sequence[Panel]) -> Iterator[Panel]:
    for panel in panels:
        for line in panel.lines:
            yield Panel(_title(panel, line), (line,), panel.share)


def _title(panel: Panel, line: Line) -> str:
    """`Loss: generator`, `Accuracy of D`, `js-estimate`"""
    if panel.share:
        accuracy, _, discriminator = line.keys[0].partition("/")
        if accuracy != "accuracy":
            return line.label
        return f"Accuracy of D {discriminator}".strip()
    return panel.title if len(panel.lines) == 1 else f"{panel.title}: {line.label}"


def _metric_panels(logs: Sequence[Log]) -> Iterator[Panel]:
    """Metrics that were measured more than once in some run; those of classes apart left out."""
    names = dict.fromkeys(name for log in logs for name in log.series)
    metrics = [name for name in names if name.startswith("metric/") and name.count("/") == 2]
    often = [n for n in metrics if any(n in x.series and len(x.series[n][0]) > 1 for x in logs)]
    for name in often[:_METRICS]:
        (panel,) = chosen_panels(logs, [name.replace("[", "[[]")])
        yield Panel(name.removeprefix("metric/"), panel.lines[:1], panel.share)


def _chart(panel: Panel, logs: Sequence[Log | None]) -> Chart:
    curves = []
    for number, log in enumerate(logs):
        for line in panel.lines:
            found = log.line(line.keys) if log is not None else None
            if log is not None and found is not None and len(found[0]):
                look = style_of(number) if len(logs) > 1 else (line.colour, _dash(line.dash))
                curves.append(_curve(number, log, line, look, *found, runs=len(logs)))
    return Chart(panel.title, tuple(curves), panel.share, _limits(panel, curves))


def _curve(
    run: int, log: Log, line: Line, look: tuple[str, str], steps: Array, values: Array, runs: int
) -> Curve:
    most = max(500, min(1500, _POINTS // runs))
    window = max(1, len(values) // 40 | 1)
    smooth_steps, smooth = smoothed(steps, values, window)
    shown, smooth_shown = extremes(values, most), _evenly(len(smooth), most)
    return Curve(
        run,
        line.label if runs == 1 else log.name,
        *look,
        [int(step) for step in steps[shown]],
        _numbers(values[shown]),
        [int(step) for step in smooth_steps[smooth_shown]],
        _numbers(smooth[smooth_shown]),
        window,
    )


def _evenly(count: int, most: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _numbers(values: Array) -> list[float | None]:
    """Five digits, which no screen can show more than; what is not finite is not a number."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values.tolist()]


def _limits(panel: Panel, curves: Sequence[Curve]) -> tuple[float, float] | None:
    """All of the smoothed curves, and of the logged values all but outliers."""
    if panel.share:
        return -0.03, 1.03
    lows, highs = [], []
    for curve in curves:
        values = sorted(value for value in curve.values if value is not None)
        smooth = [value for value in curve.smooth if value is not None]
        if smooth:
            lows.append(min(*smooth, values[len(values) // 100]))
            highs.append(max(*smooth, values[-1 - len(values) // 100]))
    if not lows:
        return None
    low, high = min(lows), max(highs)
    if 0 < low < high / 2:
        low = 0.0
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.06
    return (low if low == 0 else low - room), high + room


def _dash(dash: Any) -> str:
    """Matplotlib's dashes, in widths of the line, as SVG's in pixels."""
    return "" if isinstance(dash, str) else ",".join(f"{2 * length:g}px" for length in dash[1])
