"""The page itself: what was read of runs, put into one file of HTML that needs nothing else.

Everything that comes from a run is escaped, and a content security policy lets the page run its own
scripts only and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from ganforge import __version__
from ganforge.lab.report import blind_choices, comparison, contents, curves, sheets
from ganforge.lab.report.comparison import Block, Group
from ganforge.lab.report.contents import Entry
from ganforge.planning.resolved_recipe import leaves
from ganforge.runs.measurement import figure_text

if TYPE_CHECKING:
    from ganforge.lab.report.pictures import FiltersShown, Pairs, WalkShown

MOST_RUNS = 12
LARGEST = 15_000_000  # bytes of a page
# Of these, what others may take: bytes of pictures, which are a third longer as text.
WALKS, FILTERS, BLIND = 900_000, 900_000, 900_000
_REST = 500_000  # tables and recipes
_FAMILY = "/"  # in the name of a figure that is one of many, such as share/3


@frozen
class Shown:
    """A run on the page: what was read of it, and how it looks in graphs."""

    entry: Entry
    number: int
    colour: str
    dash: str
    warnings: tuple[str, ...]
    sheets: sheets.Sheets


@define
class Report:
    """What a page says. walks, filters: by run.

    notes: why something is missing that somebody may look for.
    watch: seconds after which the page loads itself again, 0 for never.
    """

    runs: list[Shown]
    groups: list[Group]
    blocks: list[Block]
    charts: list[curves.Chart]
    baseline: Group | None = None
    walks: dict[str, list[WalkShown]] = field(factory=dict)
    filters: dict[str, list[FiltersShown]] = field(factory=dict)
    pairs: list[Pairs] = field(factory=list)
    blind: bool = False
    counted: list[blind_choices.Counted] = field(factory=list)
    notes: list[str] = field(factory=list)
    watch: float = 0.0


def report_of(entries: Sequence[Entry], baseline: str | None = None) -> Report:
    """A report of runs, without what needs their weights. Raises GanforgeError for a baseline that
    is none of them."""
    groups = comparison.grouped(entries)
    base = None if baseline is None else comparison.baseline_of(groups, baseline)
    charts = curves.charts([entry.log for entry in entries])
    rooms = sheets.shared([sheets.size_of(e.folder) for e in entries], _room(entries, charts))
    runs = [
        Shown(
            entry,
            number,
            *curves.style_of(number),
            tuple(contents.warnings(entry)),
            sheets.sheets_of(entry.folder, room),
        )
        for number, (entry, room) in enumerate(zip(entries, rooms, strict=True))
    ]
    return Report(runs, groups, comparison.compared(groups, base), charts, base)


def _room(entries: Sequence[Entry], charts: Sequence[curves.Chart]) -> int:
    """Bytes that the sheets of all runs may take before they are written as text."""
    taken = sum(len(text) for entry in entries for text in _recipe_texts(entry).values())
    taken += len(json.dumps([chart.for_page() for chart in charts])) + _REST
    taken += len(_library()) if charts else 0
    return max(0, (LARGEST - taken) * 3 // 4 - WALKS - FILTERS - BLIND)


def _library() -> str:
    """Plotly's JavaScript."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("\r\n", "\n")


def write(report: Report) -> str:
    """The page as HTML."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.PackageLoader("ganforge.lab.report", "page")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "figure": figure_text, "duration": _duration}
    folder = files("ganforge.lab.report") / "page"
    style, script = (
        (folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")
        for name in ("style.css", "script.js")
    )
    scripts = [_library(), script] if report.charts else [script]
    found: str = environment.get_template("report.html").render(
        report=report,
        runs=report.runs,
        one=report.runs[0] if len(report.runs) == 1 else None,
        title=_title(report),
        charts=report.charts,
        tables=[_table(block, report) for block in report.blocks],
        protocols=comparison.several_protocols(report.blocks),
        facts=[_facts(shown.entry) for shown in report.runs],
        environment=_environment([shown.entry for shown in report.runs]),
        differing=_differing([shown.entry for shown in report.runs]),
        recipes=[_recipe_texts(shown.entry) for shown in report.runs],
        answers=[_answer(counted) for counted in report.counted],
        unknown=blind_choices.unknown_runs(report.counted, (s.entry.name for s in report.runs)),
        noises=_noises(report.runs),
        reals=_reals(report.runs),
        page=_for_script(report),
        policy=_policy(scripts),
        style=Markup(style),
        scripts=[Markup(text) for text in scripts],
        written=datetime.now().astimezone(),
        version=__version__,
    )
    return found


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and no script runs but these."""
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def _title(report: Report) -> str:
    names = [shown.entry.name for shown in report.runs]
    return names[0] if len(names) == 1 else f"{len(names)} runs"


def _for_script(report: Report) -> dict[str, Any]:
    """What the script of the page needs to know."""
    last = max((s.entry.log.last for s in report.runs if s.entry.log), default=0)
    return {
        "watch": report.watch,
        "last": last,
        "alone": len(report.runs) == 1,
        "runs": [shown.entry.name for shown in report.runs],
        "charts": [chart.for_page() for chart in report.charts],
        "sheets": [
            {"steps": s.sheets.steps, "pictures": [p.address for p in s.sheets.pictures]}
            for s in report.runs
        ],
        "blind": [
            {
                "kind": one.question.kind,
                "generator": one.question.generator,
                "runs": one.question.runs,
                "steps": one.question.steps,
                "pairs": one.pairs,
            }
            for one in report.pairs
        ],
        "choices": blind_choices.VERSION,
    }


# --- what the parts of the page say ---------------------------------------------------------------


def _facts(entry: Entry) -> dict[str, str]:
    """The most important of a run, in words."""
    tables = entry.tables
    train = tables.get("train", {})
    facts = {
        "recipe": str(tables.get("name", "")),
        "state": "finished" if entry.finished else f"at step {_count(entry.step)}",
        "length": f"{_count(entry.steps)} steps of batch {train.get('batch', '')}",
        "game": "; ".join(_game(tables)),
        "losses": ", ".join(_used(tables, "losses")),
        "data": str(tables.get("data", {}).get("use", "")).removeprefix("ganforge/"),
        "seed": str(entry.seed),
    }
    if entry.seconds:
        rate = f", {_count(entry.images / entry.seconds)} images a second"
        facts["time"] = _duration(entry.seconds) + (rate if entry.images else "")
    return {key: value for key, value in facts.items() if value}


def _game(tables: Mapping[str, Any]) -> Iterator[str]:
    """`noise → main → image, judged by main`"""
    discriminators = tables.get("discriminators", {})
    for name, generator in tables.get("generators", {}).items():
        sources = " + ".join(map(str, generator.get("from", ())))
        target = generator.get("to", "")
        judges = [
            str(judge) for judge, table in discriminators.items() if table.get("on") == target
        ]
        judged = f", judged by {' and '.join(judges)}" if judges else ""
        yield f"{sources} → {name} → {target}{judged}"


def _used(tables: Mapping[str, Any], group: str) -> Iterator[str]:
    for name, table in tables.get(group, {}).items():
        use = str(table.get("use", name)).removeprefix("ganforge/")
        yield name if use == name else f"{name} ({use})"


def _environment(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """(what, a value for each run)"""
    found: list[dict[str, str]] = []
    for entry in entries:
        lock = entry.tables.get("lock", {}).get("versions", {})
        machine = entry.state.get("machine", {})
        train = entry.tables.get("train", {})
        decided = {key: train[key] for key in _MACHINE if key in train} | machine
        rows = {str(key): str(value) for key, value in decided.items()}
        rows |= {f"{name}, version": str(version) for name, version in lock.items()}
        if "torch" in entry.state:
            rows["torch, version"] = str(entry.state["torch"])
        rows["seconds of training"] = _count(entry.seconds) if entry.seconds else ""
        rows["images seen"] = _count(entry.images) if entry.images else ""
        rows["folder"] = str(entry.folder.path)
        found.append(rows)
    keys = dict.fromkeys(key for rows in found for key in rows)
    return [(key, [rows.get(key, "") for rows in found]) for key in keys]


_MACHINE = ("device", "precision", "threads", "layout")


def _differing(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """(key, a value for each run) of what the recipes do not have in common."""
    tables = [dict(leaves(entry.tables)) for entry in entries]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = [(key, [_value(table.get(key)) for table in tables]) for key in keys]
    return [
        (key, values)
        for key, values in rows
        if len(set(values)) > 1 and key != "name" and not key.startswith("lock.")
    ]


def _value(value: Any) -> str:
    return "—" if value is None else value if isinstance(value, str) else repr(value)


def _recipe_texts(entry: Entry) -> dict[str, str]:
    """The recipe as given and with every default; "" for a file that is not there."""
    texts = {}
    for key, path in (("given", entry.folder.recipe), ("resolved", entry.folder.resolved)):
        try:
            texts[key] = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            texts[key] = ""
    return texts


def _noises(runs: Sequence[Shown]) -> int:
    """How many kinds of sheets there are: from the same noise are those of games that read the
    same domains from the same seeds."""
    return len({repr(_drawn_from(shown.entry.tables)) for shown in runs})


def _reals(runs: Sequence[Shown]) -> list[tuple[str, sheets.Picture]]:
    """(the first run that was shown it, real images), each picture once."""
    found: dict[str, tuple[str, sheets.Picture]] = {}
    for shown in runs:
        real = shown.sheets.real
        if real is not None and shown.sheets.steps:
            found.setdefault(real.address, (shown.entry.name, real))
    return list(found.values())


def _drawn_from(tables: Mapping[str, Any]) -> Any:
    sources = [sorted(map(str, g.get("from", ()))) for g in tables.get("generators", {}).values()]
    return sorted(sources), tables.get("noise"), tables.get("domains")


@frozen
class _Cell:
    """One figure of a run or a group. n: of how many runs, 0 for a single run."""

    text: str
    n: int = 0
    difference: str = ""


@frozen
class _Table:
    """A block as the page shows it: heads and rows of the figures, and those of families apart.

    each: where the columns are groups, a column for each run: (figure, cells).
    """

    block: Block
    id: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[_Cell, ...]], ...]
    families: tuple[tuple[str, tuple[_Cell, ...]], ...]
    runs: tuple[str, ...]
    each: tuple[tuple[str, tuple[_Cell, ...]], ...]
    steps: str


def _table(block: Block, report: Report) -> _Table:
    repeated = any(len(group.runs) > 1 for group in report.groups)
    names = [s.entry.name for s in report.runs if s.entry.name in block.steps]
    groups = [g for g in report.groups if any(run.name in block.steps for run in g.runs)]
    if repeated:
        heads = tuple(group.label for group in groups)
        rows = [(row.figure, tuple(_summed(row, g) for g in groups)) for row in block.rows]
    else:
        heads = tuple(names)
        rows = [(row.figure, tuple(_summed(row, g) for g in groups)) for row in block.rows]
    single = [(r.figure, tuple(_Cell(_text(r.values.get(n))) for n in names)) for r in block.rows]
    apart = [row for row in rows if _FAMILY in row[0]] if len(rows) > 8 else []
    steps = {block.steps[name] for name in names}
    return _Table(
        block,
        f"metric-{report.blocks.index(block)}",
        heads,
        tuple(row for row in rows if row not in apart),
        tuple(apart),
        tuple(names),
        tuple(single) if repeated else (),
        f"step {_count(min(steps))}" + (f" to {_count(max(steps))}" if len(steps) > 1 else ""),
    )


def _summed(row: comparison.Row, group: Group) -> _Cell:
    found = row.summaries.get(group.name)
    if found is None:
        return _Cell("—")
    other = row.against.get(group.name)
    difference = "" if other is None else _with_deviation(other, signed=True) + _reach(other)
    n = 0 if len(group.runs) == 1 else found.count
    return _Cell(_with_deviation(found), n, difference)


def _with_deviation(found: comparison.Summary, *, signed: bool = False) -> str:
    mean = figure_text(found.mean).replace("-", "−")
    mean = f"+{mean}" if signed and found.mean > 0 else mean
    pairs = f" (n = {found.count})" if signed and found.count > 1 else ""
    deviation = "" if found.deviation is None else f" ± {figure_text(found.deviation)}"
    return f"{mean}{deviation}{pairs}"


def _reach(found: comparison.Summary) -> str:
    """The 95 % confidence interval of the true difference."""
    ends = found.interval
    return "" if ends is None else f", {_text(ends[0])} to {_text(ends[1])}"


def _text(value: float | None) -> str:
    return "—" if value is None else figure_text(value).replace("-", "−")


def _answer(counted: blind_choices.Counted) -> dict[str, str]:
    """What people chose, in words."""
    question = counted.question
    low, high = (f"{100 * value:.0f} %" for value in counted.interval)
    if question.kind == "real-or-fake":
        asked = f"{question.runs[0]}, step {_count(question.steps[0])}: which is real?"
        outcome = "found the real one"
        meaning = "these choices do not tell fakes from real images"
    else:
        asked = " or ".join(
            f"{run}, step {_count(step)}"
            for run, step in zip(question.runs, question.steps, strict=True)
        )
        asked += ": which is better?"
        outcome = f"chose {question.runs[0]}"
        meaning = "these choices prefer neither"
    if not counted.undecided:
        good = question.runs[0] if counted.share > 0.5 else question.runs[-1]
        meaning = f"{good} is preferred"
        if question.kind == "real-or-fake":
            meaning = "fakes can be told from real images"
            if counted.share < 0.5:
                meaning = "fakes are taken for real more often than real images"
    return {
        "asked": asked,
        "outcome": f"{outcome} in {_count(counted.first)} of {_count(counted.count)} pairs",
        "share": f"{100 * counted.share:.0f} %",
        "interval": f"{low} to {high}",
        "meaning": meaning,
    }


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _duration(seconds: float) -> str:
    """42 s, 3 min 50 s, 2 h 5 min"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
