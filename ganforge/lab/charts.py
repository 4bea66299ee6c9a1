"""Graphs of what runs logged, against their steps: PNG, SVG or PDF. Nothing here needs torch.

Runs stand side by side with the same axes, a row for each panel; many of them, or a single number
of each, are drawn over each other instead.
"""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.interfaces.logged_names import current_name
from ganforge.recipes.suggestions import nearest
from ganforge.storage.part_files import beside
from ganforge.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
BESIDE = 4  # runs that fit side by side

# Colours that people with any kind of colour vision tell apart: Okabe and Ito,
# https://jfly.uni-koeln.de/color/, without the yellow, which is too pale on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#B0568C"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
INK, FAINT = "#333333", "#8a8a8a"

_SIDES = {"discriminator": BLUE, "generator": VERMILION}
_SCORES = {"real": GREEN, "fake": PURPLE}
_APART = ("loss", "score", "lr", "metric")  # first words of keys that are no shares
_MOST = 6  # lines in a panel that nobody asked for
_POINTS = 2000  # places of a smoothed line, and stretches of a logged one: more than a page is wide
_AT_ONCE = 1 << 21  # values whose medians are taken together

Array: TypeAlias = NDArray[np.float64]
NAN = float("nan")


@frozen
class Line:
    """One line of a panel: the sum of the logged numbers `keys`."""

    label: str
    keys: tuple[str, ...]
    colour: str = BLUE
    dash: Any = "-"


@frozen
class Panel:
    """Lines that share an axis. share: they go from 0 to 1."""

    title: str
    lines: tuple[Line, ...]
    share: bool = False


@frozen
class Log:
    """What one run logged: name -> (steps, values), ascending; NaN if it was not a number."""

    name: str
    series: Mapping[str, tuple[Array, Array]] = field(repr=False)

    def line(self, keys: Sequence[str]) -> tuple[Array, Array] | None:
        """The sum of some numbers at the steps that have all of them; None where one is missing."""
        if not self.has(keys):
            return None
        steps, total = self.series[keys[0]]
        for key in keys[1:]:
            other_steps, values = self.series[key]
            if np.array_equal(steps, other_steps):
                total = total + values
                continue
            steps, here, there = np.intersect1d(steps, other_steps, return_indices=True)
            total = total[here] + values[there]
        return steps, total

    def has(self, keys: Sequence[str]) -> bool:
        """Whether all of these numbers were logged."""
        return all(key in self.series for key in keys)

    @property
    def last(self) -> int:
        """The last logged step."""
        return int(max(steps[-1] for steps, _ in self.series.values()))


def read_log(
    folder: RunFolder, name: str = "", lines: Iterable[Mapping[str, Any]] | None = None
) -> Log:
    """The numbers of a run's metrics.jsonl, or of lines of it that are being read anyway. Raises
    RunError where there are none."""
    shapes: dict[tuple[str, ...], _Shape] = {}
    for place, line in enumerate(folder.metric_lines() if lines is None else lines):
        values: Iterable[Any] = line.values()
        kinds = set(map(type, values))
        if not kinds <= _NUMBERS:  # rarely, as where a metric tells its protocol
            line = {key: value for key, value in line.items() if type(value) in _NUMBERS}
            values = line.values()
        if None.__class__ in kinds:
            values = [NAN if value is None else value for value in values]
        keys = tuple(line)
        shape = shapes.get(keys) or shapes.setdefault(keys, _Shape())
        shape.add(place, line["step"], values)
    shapes = {keys: shape for keys, shape in shapes.items() if not _PLACES.issuperset(keys)}
    if not shapes:
        raise RunError(f"{folder.path} has logged nothing yet")
    parts: dict[str, list[tuple[Array, Array, Array]]] = {}
    for keys, shape in shapes.items():
        for key, *columns in shape.columns(keys):
            parts.setdefault(key, []).append(tuple(columns))
    return Log(name or folder.name, {key: _series(found) for key, found in parts.items()})


_NUMBERS = frozenset((float, int, type(None)))  # what JSON has for them; NaN is null
_PLACES = frozenset(("step", "images", "seconds"))


class _Shape:
    """The lines that hold numbers of the same names, one after the other, 8 bytes a number."""

    def __init__(self) -> None:
        self._places, self._steps, self._values = array("d"), array("d"), array("d")

    def add(self, place: int, step: int, values: Iterable[float]) -> None:
        self._places.append(place)
        self._steps.append(step)
        self._values.extend(values)

    def columns(self, keys: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """(key, places of the lines in the file, their steps, the values) of each key."""
        places, steps = np.frombuffer(self._places), np.frombuffer(self._steps)
        values = np.frombuffer(self._values).reshape(-1, len(keys))
        for number, key in enumerate(keys):
            if key not in _PLACES:
                yield key, places, steps, values[:, number]


def _series(parts: Sequence[tuple[Array, Array, Array]]) -> tuple[Array, Array]:
    """(steps, values), ascending; of two lines of a step the later one counts."""
    if len(parts) == 1 and bool(np.all(np.diff(parts[0][1]) > 0)):
        return parts[0][1:]
    places, steps, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((places, steps))
    steps, values = steps[order], values[order]
    last = np.append(steps[1:] != steps[:-1], True)
    return steps[last], values[last]


# --- what is drawn --------------------------------------------------------------------------------


def usual_panels(logs: Sequence[Log]) -> list[Panel]:
    """Losses of both sides, D's scores, and what goes from 0 to 1."""
    names = list(dict.fromkeys(name for log in logs for name in log.series))
    panels = [*_loss_panels(names), _score_panel(names), _share_panel(names, logs)]
    return [panel for panel in panels if panel.lines]


def chosen_panels(logs: Sequence[Log], patterns: Iterable[str]) -> list[Panel]:
    """A panel for each pattern, as a shell knows them. Raises GanforgeError where none fits."""
    names = list(dict.fromkeys(name for log in logs for name in log.series))
    panels = []
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, current_name(pattern))]
        if not found:
            close = nearest(pattern, names) or _alike(pattern, names) or names[:5]
            runs = " and ".join(log.name for log in logs)
            raise GanforgeError(
                f"{runs} logged nothing called '{pattern}'; nearest: {', '.join(close)}"
            )
        lines = [Line(label, (name,)) for name, label in zip(found, _labels(found), strict=True)]
        title = found[0] if len(found) == 1 else pattern
        share = all(name.split("/")[0] == "accuracy" for name in found)
        panels.append(Panel(title, _coloured(lines), share))
    return panels


def _alike(pattern: str, names: Sequence[str]) -> list[str]:
    """Names that have the longest word of a pattern in them."""
    word = max(pattern.replace("*", "/").replace("?", "/").split("/"), key=len)
    close = nearest(word, {part for name in names for part in name.split("/")})
    return [name for name in names if set(close) & set(name.split("/"))][:5]


def _loss_panels(names: Sequence[str]) -> list[Panel]:
    """The adversarial losses, and the others."""
    totals: dict[tuple[str, str, str], list[str]] = {}
    for name in names:
        if (parsed := _parsed_loss(name)) is not None:
            totals.setdefault(parsed, []).append(name)
    both = {key[0] for key in totals if {s for n, _, s in totals if n == key[0]} == {*_SIDES}}
    first = {"adversarial"} & both or both
    discriminators = list(
        dict.fromkeys(discriminator for _, discriminator, _ in totals if discriminator)
    )
    main, others = [], []
    for side in _SIDES:
        for (loss, discriminator, of), keys in totals.items():
            if of != side:
                continue
            bare = [key for key in keys if key.endswith(f"/{side}")]
            line = Line(
                " ".join(filter(None, (side, discriminator))), tuple(bare or keys), _SIDES[side]
            )
            if discriminator:
                line = evolve(line, dash=DASHES[discriminators.index(discriminator) % len(DASHES)])
            if loss in first:
                label = line.label if len(first) == 1 else f"{loss} {line.label}"
                main.append(evolve(line, label=label))
            else:
                others.append(
                    evolve(
                        line,
                        label=" ".join(filter(None, (loss, discriminator, f"({side[0].upper()})"))),
                    )
                )
    if len(first) > 1:
        main = list(_coloured(main))
    return [Panel("Loss", tuple(main)), Panel("Other losses", _coloured(others))]


def _parsed_loss(name: str) -> tuple[str, str, str] | None:
    """(loss, discriminator or "", side) of `loss/NAME[/DISCRIMINATOR]/SIDE[/TERM]`."""
    kind, *parts = name.split("/")
    if kind != "loss":
        return None
    for place in (1, 2):
        if len(parts) > place and parts[place] in _SIDES:
            return parts[0], parts[1] if place == 2 else "", parts[place]
    return None


def _score_panel(names: Sequence[str]) -> Panel:
    """`score/real`, `score/fake`, each with `/DISCRIMINATOR` where there are several."""
    lines = []
    for kind, colour in _SCORES.items():
        found = [n for n in names if n == f"score/{kind}" or n.startswith(f"score/{kind}/")]
        for number, name in enumerate(found):
            label = name.removeprefix("score/").replace("/", " ")
            lines.append(Line(label, (name,), colour, DASHES[number % len(DASHES)]))
    return Panel("Score of D", tuple(lines))


def _share_panel(names: Sequence[str], logs: Sequence[Log]) -> Panel:
    """D's accuracy first, then what else goes from 0 to 1."""
    found = [name for name in names if name.split("/")[0] == "accuracy"]
    rest = [n for n in names if n not in found and n.split("/")[0] not in _APART]
    found += [name for name in rest if all(_is_share(log.series.get(name)) for log in logs)]
    labels = _labels(found[:_MOST])
    lines = [Line(label, (name,)) for name, label in zip(found, labels, strict=False)]
    only = all(name.split("/")[0] == "accuracy" for name in found)
    title = "Accuracy of D" if only else "Accuracy of D, and others from 0 to 1"
    return Panel(title, _coloured(lines, (INK, *COLOURS)), share=True)


def _is_share(series: tuple[Array, Array] | None) -> bool:
    if series is None:
        return True
    values = series[1][np.isfinite(series[1])]
    return values.size == 0 or bool(values.min() >= 0 and values.max() <= 1)


def _labels(names: Sequence[str]) -> list[str]:
    """Names without the parts that all of them begin and end with."""
    parts = [name.split("/") for name in names]
    if len(parts) < 2:
        return ["/".join(one[-2:]) for one in parts]
    start, end = 0, 0
    shortest = min(map(len, parts))
    while start < shortest - 1 and len({one[start] for one in parts}) == 1:
        start += 1
    while end < shortest - 1 - start and len({one[-1 - end] for one in parts}) == 1:
        end += 1
    return ["/".join(one[start : len(one) - end]) for one in parts]


def _coloured(lines: Sequence[Line], colours: Sequence[str] = COLOURS) -> tuple[Line, ...]:
    """Lines distinguished by colour, and by dashes once all colours are used."""
    return tuple(
        evolve(
            line,
            colour=colours[number % len(colours)],
            dash=DASHES[number // len(colours) % len(DASHES)],
        )
        for number, line in enumerate(lines)
    )


def running_median(values: Array, window: int, at: Any = None) -> Array:
    """The median of the `window` values around each, fewer at the ends; NaN counts as missing.

    at: the places that it is taken at, int64 [N]; otherwise all.
    """
    if window < 2:
        return values if at is None else values[at]
    half = window // 2
    padded = np.pad(values, (half, window - 1 - half), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, window)
    at = np.arange(len(values)) if at is None else at
    parts = np.array_split(at, -(-len(at) * window // _AT_ONCE))
    return np.concatenate([_medians(around[part]) for part in parts])


def _medians(rows: Array) -> Array:
    """The median of each row [N, M], NaN where nothing of it is finite."""
    finite = np.isfinite(rows)
    if finite.all():
        return np.asarray(np.median(rows, 1, overwrite_input=True))
    result = np.full(len(rows), np.nan)
    known = finite.any(1)
    result[known] = np.nanmedian(np.where(finite[known], rows[known], np.nan), 1)
    return result


def smoothed(steps: Array, values: Array, window: int) -> tuple[Array, Array]:
    """The running median where it is shown: at every step of a short run, and of a long one so
    closely that more places would lie within a pixel. Takes time in proportion to the values."""
    apart = max(1, min(window // 8, len(values) // _POINTS))
    at = np.append(np.arange(0, len(values) - 1, apart), len(values) - 1)
    smooth = running_median(values, window, at if apart > 1 else None)
    shown = extremes(smooth, 4 * _POINTS)
    return steps[at][shown], smooth[shown]


def extremes(values: Array, most: int) -> Any:
    """Places of at most so many values, among them the least and the greatest of each stretch."""
    if len(values) <= most:
        return np.arange(len(values))
    bounds = np.linspace(0, len(values), most // 2).astype(int)
    places = {0, len(values) - 1}
    for start, stop in pairwise(bounds.tolist()):
        part = values[start:stop]
        if np.isfinite(part).any():
            places |= {start + int(np.nanargmin(part)), start + int(np.nanargmax(part))}
    return np.array(sorted(places))


# --- drawing --------------------------------------------------------------------------------------

# Inches; 100 px each in the size that a picture is meant to be shown at.
_WIDTH, _LEFT, _RIGHT, _GAP = 9.0, 0.62, 0.14, 0.16
_NAMES, _HEADER, _HEIGHT, _BOTTOM = 0.32, 0.34, 1.62, 0.52
_LINE, _LETTER = 0.16, 0.068  # of a legend: from line to line, and from letter to letter
_DPI = (200, 150, 100)  # of a PNG: twice as fine as it is shown, where that is not too large
_LARGEST = 150_000  # bytes of a PNG

_STYLE: Mapping[Any, Any] = {
    "font.size": 8.5,
    "axes.edgecolor": "#bbbbbb",
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "svg.hashsalt": "ganforge",
}

# Rows of cells of drawn lines, with the rows' titles.
_Cell: TypeAlias = list[tuple[Line, Log]]
_Row: TypeAlias = tuple[Panel, list[_Cell]]


def write_graph(path: Path, logs: Sequence[Log], panels: Sequence[Panel], smooth: int = 0) -> None:
    """Draw panels into a file, whose ending is one of ENDINGS; written whole or not at all.

    smooth: logged lines that a running median is taken over; 0: a fortieth of them.
    Raises GanforgeError where the file cannot be written.
    """
    import matplotlib

    with matplotlib.rc_context():  # not as the person's own settings would have it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        data = _encoded(_figure(logs, panels, smooth), path.suffix.lower())
    part = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise GanforgeError(f"cannot write {path}: {error.strerror or error}") from error


def _encoded(figure: Figure, ending: str) -> bytes:
    """The bytes of a file; they do not depend on when they were made."""
    file = io.BytesIO()
    if ending != ".png":
        date = {"Date": None} if ending == ".svg" else {"CreationDate": None}
        figure.savefig(file, format=ending[1:], metadata=date)
        return file.getvalue()
    for dpi in _DPI:
        data = _png(figure, dpi)
        if len(data) <= _LARGEST:
            break
    return data


def _png(figure: Figure, dpi: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    few = picture.quantize(128, dither=Image.Dither.NONE)  # lines and letters need no more colours
    file = io.BytesIO()
    few.save(file, "png", optimize=True, dpi=(dpi, dpi))
    return file.getvalue()


def _figure(logs: Sequence[Log], panels: Sequence[Panel], smooth: int) -> Figure:
    from matplotlib.figure import Figure

    rows = _rows(logs, panels)
    columns = len(rows[0][1])
    names = [log.name for log in logs] if columns == len(logs) else []
    tops = [_HEADER + (_legend(row)[1] - 1) * _LINE for row in rows]
    depth = _NAMES if names else 0.06
    height = depth + sum(tops) + len(rows) * _HEIGHT + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    width = (_WIDTH - _LEFT - _RIGHT - _GAP * (columns - 1)) / columns
    starts = [_LEFT + column * (width + _GAP) for column in range(columns)]
    window = smooth or max(1, max(len(s) for log in logs for s, _ in log.series.values()) // 40 | 1)
    last = max(log.last for log in logs)
    for row, top in zip(rows, tops, strict=True):
        depth += top + _HEIGHT
        bottom = (height - depth) / height
        _head(figure, row, bottom + (_HEIGHT + 0.07) / height)
        cells = [[(line, _curve(line, log, window)) for line, log in cell] for cell in row[1]]
        limits = _limits(row[0], cells)
        for start, cell in zip(starts, cells, strict=True):
            place = (start / _WIDTH, bottom, width / _WIDTH, _HEIGHT / height)
            axes = figure.add_axes(place, xlim=(0, last * 1.005), ylim=limits)
            _mark(axes, row[0], last, 6 if columns == 1 else 4)
            axes.tick_params(labelleft=start == _LEFT, labelbottom=row is rows[-1])
            _draw(axes, cell)
    for start, name in zip(starts, names, strict=False):
        y = 1 - 0.2 / height
        figure.text(start / _WIDTH, y, name, fontsize=9.5, fontweight="bold", va="center")
    _foot(figure, window, height)
    return figure


def _rows(logs: Sequence[Log], panels: Sequence[Panel]) -> list[_Row]:
    """Runs side by side; over each other where there are too many, or one line of each."""
    lone = all(len(_drawn(panel, log)) < 2 for panel in panels for log in logs)
    if len(logs) == 1 or (len(logs) <= BESIDE and not lone):
        return [(panel, [[(x, log) for x in panel.lines] for log in logs]) for panel in panels]
    if lone:
        return [_overlaid(panel, [(log, _drawn(panel, log)) for log in logs]) for panel in panels]
    return [
        _overlaid(evolve(panel, title=f"{panel.title}: {line.label}"), [(x, [line]) for x in logs])
        for panel in panels
        for line in panel.lines
    ]


def _drawn(panel: Panel, log: Log) -> list[Line]:
    """The lines of a panel that a run has."""
    return [line for line in panel.lines if log.has(line.keys)]


def _overlaid(panel: Panel, lines: Sequence[tuple[Log, Sequence[Line]]]) -> _Row:
    """One line of each run, coloured by the run and named after it."""
    logs = [log for log, _ in lines]
    named = _coloured([Line(log.name, found[0].keys if found else ("",)) for log, found in lines])
    return panel, [list(zip(named, logs, strict=True))]


@frozen(eq=False)
class _Curve:
    """A line as it is drawn. logged: (steps, values), None where it is not smoothed; bulk: the
    range of all but the outliers of what was logged."""

    logged: tuple[Array, Array] | None
    smooth: tuple[Array, Array]
    bulk: tuple[float, float] | None


def _curve(line: Line, log: Log, window: int) -> _Curve | None:
    """None where the run did not log it."""
    found = log.line(line.keys)
    if found is None:
        return None
    steps, values = found
    finite = values[np.isfinite(values)]
    bulk = None
    if finite.size:
        low, high = (np.quantile(finite, q, method=m) for q, m in _BULK)
        bulk = float(low), float(high)
    shown = extremes(values, 4 * _POINTS)
    logged = (steps[shown], values[shown]) if window > 1 else None
    return _Curve(logged, smoothed(steps, values, window), bulk)


_BULK: tuple[tuple[float, Any], ...] = ((0.01, "lower"), (0.99, "higher"))


def _limits(
    panel: Panel, cells: Sequence[Sequence[tuple[Line, _Curve | None]]]
) -> tuple[float, float]:
    """The range of a row: all of the smoothed lines, and of what was logged all but outliers."""
    if panel.share:
        return -0.03, 1.03
    lows, highs = [], []
    for curve in (curve for cell in cells for _, curve in cell):
        if curve is not None and curve.bulk is not None:
            smooth = curve.smooth[1]
            lows.append(min(smooth.min(), curve.bulk[0]))
            highs.append(max(smooth.max(), curve.bulk[1]))
    if not lows:
        return 0.0, 1.0
    low, high = float(min(lows)), float(max(highs))
    if 0 < low < high / 2:
        low = 0.0  # what is near zero is best seen from there
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.06
    return (low if low == 0 else low - room), high + room


def _mark(axes: Axes, panel: Panel, last: int, most: int) -> None:
    """The axes' numbers; those at both ends of the steps stay within the frame."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    marks = MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
    marks = [mark for mark in marks if 0 <= mark <= last]
    axes.set_xticks(marks, [f"{mark:,.0f}" for mark in marks])
    labels = axes.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    if len(marks) > 1 and marks[-1] > 0.92 * last:
        labels[-1].set_horizontalalignment("right")
    axes.grid(axis="x", visible=False)
    if panel.share:
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw(axes: Axes, cell: Sequence[tuple[Line, _Curve | None]]) -> None:
    for line, curve in cell:
        if curve is None:
            continue
        if curve.logged is not None:
            axes.plot(*curve.logged, color=line.colour, linewidth=0.6, alpha=0.25)
        axes.plot(*curve.smooth, color=line.colour, linewidth=1.4, linestyle=line.dash)
    if not any(curve is not None for _, curve in cell):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=FAINT)


def _head(figure: Figure, row: _Row, y: float) -> None:
    """A row's title, and what its lines are."""
    from matplotlib.lines import Line2D

    figure.text(_LEFT / _WIDTH, y, row[0].title, fontweight="bold", va="bottom")
    shown = _shown(row)
    if len(shown) < 2:
        return
    figure.legend(
        [Line2D([], [], color=x.colour, linestyle=x.dash, linewidth=1.6) for x in shown],
        [line.label for line in shown],
        loc="lower right",
        bbox_to_anchor=(1 - _RIGHT / _WIDTH, y),
        ncols=_legend(row)[0],
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.25,
        handlelength=1.8,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def _shown(row: _Row) -> list[Line]:
    """The lines of a row that some run has."""
    lines = (line for cell in row[1] for line, log in cell if log.has(line.keys))
    return list(dict.fromkeys(lines))


def _legend(row: _Row) -> tuple[int, int]:
    """(columns, lines) in which the legend of a row fits beside its title."""
    labels = [line.label for line in _shown(row)]
    if len(labels) < 2:
        return 1, 1
    room = _WIDTH - _LEFT - _RIGHT - (len(row[0].title) + 2) * _LETTER
    columns = max(1, int(room / (max(map(len, labels)) * _LETTER + 0.45)))
    if sum(map(len, labels)) * _LETTER + 0.45 * len(labels) <= room:
        columns = len(labels)
    return min(columns, len(labels)), -(-len(labels) // columns)


def _foot(figure: Figure, window: int, height: float) -> None:
    y = 0.12 / height
    figure.text(_LEFT / _WIDTH, y, "step", color=FAINT, va="center")
    if window > 1:
        note = f"running median of {window} logged values; behind it, faint, the values"
        figure.text(
            1 - _RIGHT / _WIDTH, y, note, color=FAINT, fontsize=7.5, va="center", ha="right"
        )
