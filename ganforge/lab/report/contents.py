"""What a report says of one run, read from its folder. Light: nothing here needs torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

from ganforge.interfaces.errors import RunError
from ganforge.lab.charts import Log, read_log
from ganforge.planning.resolved_recipe import leaves
from ganforge.storage.run_folder import RunFolder
from ganforge.storage.step_names import folder_name

_WATCHING = ("progress", "metrics", "checkpoint", "samples", "tensorboard", "collapse-alarm")
_NO_SEED = ("name", "lock", "metrics", "train.device", "train.threads", "train.seed")


@frozen
class Measured:
    """A metric's figures at one step. protocol: what they belong to, "" where nobody wrote it."""

    metric: str
    step: int
    figures: Mapping[str, float]
    protocol: str
    logged: bool = False  # by the run itself, in metrics.jsonl


@frozen
class Entry:
    """One run as a report knows it.

    name: tells it from the other runs of the page. tables: resolved.toml. state: of the newest
    checkpoint, {} without one. seconds, images: of training.
    """

    folder: RunFolder
    name: str
    tables: Mapping[str, Any] = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)
    log: Log | None = field(repr=False)
    measured: Sequence[Measured] = field(repr=False)
    step: int
    seconds: float
    images: int

    @property
    def steps(self) -> int:
        """How long the run is to be."""
        return int(self.tables.get("train", {}).get("steps", 0))

    @property
    def seed(self) -> int:
        return int(self.tables.get("train", {}).get("seed", 0))

    @property
    def finished(self) -> bool:
        return bool(self.state) and int(self.state.get("step", 0)) >= self.steps

    def all_but_the_seed(self) -> dict[str, str]:
        """What makes two runs repetitions of one: every key of the recipe that may change what is
        learned, apart from the seed. Where and when they ran, and who watched, does not."""
        watching = {
            f"hooks.{name}"
            for name, table in self.tables.get("hooks", {}).items()
            if str(table.get("use", name)).rpartition("/")[2] in _WATCHING
        }
        return {
            key: repr(value)
            for key, value in leaves(self.tables)
            if not any(key == x or key.startswith(f"{x}.") for x in (*_NO_SEED, *watching))
        }


def read(folder: RunFolder, name: str) -> Entry:
    """Read a run. Raises RunError where it is none; a run that is training may be read."""
    tables = folder.resolved_tables()
    saved = folder.checkpoint_steps()
    state = _json(folder.checkpoints / folder_name(saved[-1]) / "state.json") if saved else {}
    logged = _Logged(folder)
    try:
        log = read_log(folder, name, logged)
    except RunError:
        log = None
    last = logged.last
    newest = max((state, last), key=lambda x: _number(x.get("step")))
    return Entry(
        folder,
        name,
        tables,
        state,
        log,
        [*_evaluations(folder), *logged.measured],
        int(_number(newest.get("step"))),
        _number(newest.get("seconds")),
        int(_number(newest.get("images"))),
    )


def _json(path: Any) -> dict[str, Any]:
    """A JSON object of a file; {} where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float:
    return float(value) if _is_figure(value) else 0.0


def _is_figure(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _evaluations(folder: RunFolder) -> Iterator[Measured]:
    for line in folder.evaluation_lines():
        figures = line.get("figures")
        if isinstance(figures, dict):
            found = {str(k): float(v) for k, v in figures.items() if _is_figure(v)}
            name, protocol = str(line.get("metric", "")), str(line.get("protocol", ""))
            yield Measured(name, line["step"], found, protocol)


class _Logged:
    """The lines of metrics.jsonl, one after the other: it may be too long to be held.

    last: of those that were passed on. measured: the figures in them.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.last: Mapping[str, Any] = {}
        self.measured: list[Measured] = []

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for line in self._folder.metric_lines():
            self.last = line
            self.measured += _measured(line)
            yield line


def _measured(line: Mapping[str, Any]) -> Iterator[Measured]:
    """Figures that the run measured itself, `metric/NAME/FIGURE`."""
    found: dict[str, dict[str, float]] = {}
    for key, value in line.items():
        kind, _, rest = key.partition("/")
        metric, _, figure = rest.partition("/")
        if kind == "metric" and figure and _is_figure(value):
            found.setdefault(metric, {})[figure] = float(value)
    written = line.get("protocols")
    protocols = written if isinstance(written, dict) else {}
    for metric, figures in found.items():
        protocol = str(protocols.get(metric, ""))
        yield Measured(metric, line["step"], figures, protocol, logged=True)


# --- what to beware of ----------------------------------------------------------------------------


def warnings(entry: Entry) -> Iterator[str]:
    """What somebody who reads the figures of a run should know first."""
    lock = entry.tables.get("lock", {})
    if lock.get("stand_in"):
        yield f"trained on stand-in data: {lock['stand_in']}"
    if not entry.state:
        yield (
            "no checkpoint yet: nothing can be sampled, and the figures are those of an "
            "unfinished run"
        )
    elif not entry.finished:
        yield f"not finished: step {entry.step:,} of {entry.steps:,}"
    yield from _inexact(entry)
    yield from _alarms(entry)
    if entry.folder.failed.is_dir() and any(entry.folder.failed.iterdir()):
        steps = ", ".join(sorted(path.name for path in entry.folder.failed.iterdir()))
        yield f"stopped once because something was not finite ({steps}); `ganforge replay` shows it"
    if entry.log is not None:
        series = entry.log.series.items()
        broken = [key for key, (_, values) in series if not np.isfinite(values).all()]
        if broken:
            yield f"not finite in the log: {', '.join(broken)}"


def _inexact(entry: Entry) -> Iterator[str]:
    for resumed in entry.state.get("inexact", ()):
        if isinstance(resumed, dict):
            changed = resumed.get("changed")
            note = f" ({', '.join(map(str, changed))})" if isinstance(changed, list) else ""
            yield f"not bit-exact from step {_number(resumed.get('step')):,.0f} on{note}"


def _alarms(entry: Entry) -> Iterator[str]:
    """What collapse alarms have warned of, as their state says."""
    hooks = entry.state.get("hooks", {})
    for name, state in hooks.items() if isinstance(hooks, dict) else ():
        use = str(entry.tables.get("hooks", {}).get(name, {}).get("use", name))
        note = state.get("told") if isinstance(state, dict) else None
        if use.rpartition("/")[2] != "collapse-alarm" or not isinstance(note, list):
            continue
        for what in map(str, note):
            kind, _, discriminator = what.partition("/")
            of = f" of discriminator '{discriminator}'" if discriminator else ""
            if kind == "accuracy":
                yield f"collapse alarm: the accuracy{of} stayed at 1"
            else:
                yield f"collapse alarm: fakes{' before' + of[3:] if of else ''} were nearly alike"
