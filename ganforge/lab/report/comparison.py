"""Figures of several runs beside each other: only what one protocol measured, seeds in groups."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from ganforge.interfaces.errors import GanforgeError
from ganforge.lab.report.contents import Entry, Measured


@frozen
class Group:
    """Runs whose recipes differ in the seed alone, under the name of the first."""

    name: str
    runs: tuple[Entry, ...]

    @property
    def label(self) -> str:
        count = len(self.runs)
        return self.name if count == 1 else f"{self.name} ({count} seeds)"


@frozen
class Summary:
    """Of a group's values: mean, sample deviation (None of fewer than two), and how many."""

    mean: float
    deviation: float | None
    count: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the true mean lies with 95 % confidence, by Student's distribution; None of fewer
        than two values."""
        if self.deviation is None:
            return None
        from scipy.special import stdtrit

        reach = float(stdtrit(self.count - 1, 0.975)) * self.deviation / math.sqrt(self.count)
        return self.mean - reach, self.mean + reach


@frozen
class Row:
    """One figure: values by the runs' names, summaries by the groups', and by the groups' names
    how much they differ from the baseline, run by run of the same seed."""

    figure: str
    values: Mapping[str, float]
    summaries: Mapping[str, Summary]
    against: Mapping[str, Summary]


@frozen
class Block:
    """What one metric measured by one protocol at one moment ("last" or "best" step of a run).

    steps: run -> the step that was measured.
    """

    metric: str
    protocol: str
    logged: bool
    moment: str
    steps: Mapping[str, int]
    rows: tuple[Row, ...]


def grouped(entries: Sequence[Entry]) -> list[Group]:
    """Runs in groups of the same game, in their order."""
    groups: list[tuple[Mapping[str, str], list[Entry]]] = []
    for entry in entries:
        game = entry.all_but_the_seed()
        for other, runs in groups:
            if game == other and entry.seed not in {run.seed for run in runs}:
                runs.append(entry)
                break
        else:
            groups.append((game, [entry]))
    return [Group(_name_of(runs), tuple(runs)) for _, runs in groups]


def _name_of(runs: Sequence[Entry]) -> str:
    """The first run's name; for a sweep's, which end in the seed, the part before it."""
    first = runs[0].name
    whole, slash, last = first.replace("\\", "/").rpartition("/")
    return whole if slash and last == f"seed-{runs[0].seed}" else first


def baseline_of(groups: Sequence[Group], name: str) -> Group:
    """The group that a run belongs to. Raises GanforgeError where it is not in the report."""
    for group in groups:
        if name == group.name or group.name.endswith(f"/{name}"):
            return group
        if any(name in (run.name, run.folder.name, str(run.folder.path)) for run in group.runs):
            return group
    there = ", ".join(run.name for group in groups for run in group.runs)
    raise GanforgeError(f"--baseline {name} is not among the runs of the report: {there}")


def compared(groups: Sequence[Group], baseline: Group | None = None) -> list[Block]:
    """Every figure that was measured, a block for each metric, protocol and moment."""
    found: dict[tuple[str, str, bool, str], dict[str, Measured]] = {}
    entries = [run for group in groups for run in group.runs]
    for entry in entries:
        for moment, measured in _moments(entry):
            key = (measured.metric, _protocol(entry, measured), measured.logged, moment)
            found.setdefault(key, {})[entry.name] = measured
    order = sorted(found, key=lambda key: (key[0], key[3] != "last", key[2]))
    return [_block(key, found[key], groups, baseline) for key in order]


def _moments(entry: Entry) -> Iterator[tuple[str, Measured]]:
    """The last measurement of each metric by each protocol, and the one of the best step.

    What the run logged itself is left out where the metric was measured again at that step.
    """
    newest: dict[tuple[str, str], Measured] = {}
    best: dict[tuple[str, str], Measured] = {}
    best_step = entry.folder.best()
    for measured in entry.measured:
        key = (measured.metric, measured.protocol)
        if key not in newest or measured.step >= newest[key].step:
            newest[key] = measured
        if measured.step == best_step:
            best[key] = measured
    again = {(x.metric, x.step) for x in newest.values() if not x.logged}
    for key, measured in newest.items():
        if not measured.logged or (measured.metric, measured.step) not in again:
            yield "last", measured
        if key in best and best[key].step != measured.step:
            yield "best", best[key]


def _protocol(entry: Entry, measured: Measured) -> str:
    """What was written down, else the metric's settings in the recipe."""
    if measured.protocol or not measured.logged:
        return measured.protocol
    table = entry.tables.get("metrics", {}).get(measured.metric, {})
    settings = [f"{key} = {value}" for key, value in table.items() if key != "use"]
    return ", ".join([str(table.get("use", measured.metric)), *settings])


def _block(
    key: tuple[str, str, bool, str],
    found: Mapping[str, Measured],
    groups: Sequence[Group],
    baseline: Group | None,
) -> Block:
    metric, protocol, logged, moment = key
    names = dict.fromkeys(name for measured in found.values() for name in measured.figures)
    rows = tuple(
        _row(name, {run: m.figures[name] for run, m in found.items() if name in m.figures}, groups)
        for name in names
    )
    if baseline is not None:
        rows = tuple(_set_against(row, groups, baseline) for row in rows)
    steps = {run: measured.step for run, measured in found.items()}
    return Block(metric, protocol, logged, moment, steps, rows)


def _row(figure: str, values: Mapping[str, float], groups: Sequence[Group]) -> Row:
    summaries = {}
    for group in groups:
        own = [values[run.name] for run in group.runs if run.name in values]
        if own:
            summaries[group.name] = summary(own)
    return Row(figure, values, summaries, {})


def _set_against(row: Row, groups: Sequence[Group], baseline: Group) -> Row:
    base = {run.seed: row.values[run.name] for run in baseline.runs if run.name in row.values}
    against = {}
    for group in groups:
        if group is baseline:
            continue
        pairs = [
            row.values[run.name] - base[run.seed]
            for run in group.runs
            if run.name in row.values and run.seed in base
        ]
        if pairs:
            against[group.name] = summary(pairs)
    return Row(row.figure, row.values, row.summaries, against)


def summary(values: Sequence[float]) -> Summary:
    """Mean, sample standard deviation and number of some values, one or more."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), deviation, len(values))


def several_protocols(blocks: Iterable[Block]) -> dict[str, int]:
    """The metrics that were measured by more than one protocol, and by how many."""
    found: dict[str, set[tuple[str, bool]]] = {}
    for block in blocks:
        found.setdefault(block.metric, set()).add((block.protocol, block.logged))
    return {metric: len(protocols) for metric, protocols in found.items() if len(protocols) > 1}


# --- CSV ------------------------------------------------------------------------------------------

_COLUMNS = (
    *("of", "name", "seed", "metric", "figure", "step", "moment", "value", "deviation", "n"),
    *("baseline", "difference", "difference_deviation", "difference_n"),
    *("difference_low", "difference_high", "protocol"),
)


def to_csv(blocks: Sequence[Block], groups: Sequence[Group], baseline: Group | None = None) -> str:
    """A line for each figure of each run and, where runs repeat each other, of each group."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS)
    for block in blocks:
        for row in block.rows:
            for line in _lines(block, row, groups, baseline):
                table.writerow([_cell(x) for x in line])
    return out.getvalue()


def _lines(
    block: Block, row: Row, groups: Sequence[Group], baseline: Group | None
) -> Iterator[tuple[object, ...]]:
    what = (block.metric, row.figure)
    for group in groups:
        for run in group.runs:
            if run.name in row.values:
                measured = (block.steps[run.name], block.moment, row.values[run.name])
                yield "run", run.name, run.seed, *what, *measured, *[""] * 8, block.protocol
        own = row.summaries.get(group.name)
        if own is None or (len(group.runs) == 1 and baseline is None):
            continue
        other = row.against.get(group.name)
        apart: tuple[object, ...] = ("",) * 6
        if baseline is not None and other is not None:
            reach = other.interval or ("", "")
            apart = (baseline.name, other.mean, other.deviation, other.count, *reach)
        mean = ("", block.moment, own.mean, own.deviation, own.count)
        yield "group", group.name, "", *what, *mean, *apart, block.protocol


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula begins with a quote."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    text = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if text else value
