"""Reading a recipe's tables: finding components, typing options, noting what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ganforge.interfaces.addresses import Address
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import Component, DataDescription, Impossible, Kind
from ganforge.interfaces.specs import KINDS_OF_DATA, Spec
from ganforge.planning.plan import Part
from ganforge.recipes.grammar import KIND
from ganforge.recipes.problems import Problem
from ganforge.recipes.recipe import Recipe
from ganforge.recipes.source import Span
from ganforge.recipes.suggestions import nearest
from ganforge.recipes.toml_tables import Entry, Table, item_span
from ganforge.recipes.typed_options import structure
from ganforge.registry.plugin_loader import BUILT_IN, one_line
from ganforge.registry.registry import NotFound, Registry

T = TypeVar("T")

# Names of domains where a table does not say, or wrongly says, which one it means. No real domain
# has them. IMPLIED: the only image of data that is not known.
UNKNOWN, IMPLIED = "?", "?image"

# Kinds that a run was trained with and that looking at it does without.
_NOT_FOR_LOOKING = ("loss", "augmentor", "hook", "metric")


@attrs.frozen
class UnknownSpec(Spec):
    """What a kind of data looks like if a reported problem hides it: it refuses nothing."""

    kind = "unknown"

    def __str__(self) -> str:
        return "data that is not known"


@attrs.frozen
class StandIn(Part):
    """A part whose component or options are not known, which is told: it refuses nothing, so that
    the rest of the recipe is looked at too. It is never part of a plan that is played."""


def all_known(*specs: Spec) -> bool:
    """Whether none of these is a placeholder for what a problem hides."""
    return not any(isinstance(spec, UnknownSpec) for spec in specs)


class Reader:
    """What the layers above share. `problems` collects; nothing here raises for a mistake."""

    def __init__(self, recipe: Recipe, registry: Registry, offline: bool, starts: bool) -> None:
        self.recipe = recipe
        self.registry = registry
        self.offline = offline
        self.starts = starts
        self.root: Table = recipe.table
        self.problems: list[Problem] = list(recipe.problems)

    def problem(self, message: str, span: Span | None, *notes: str, label: str = "") -> None:
        self.problems.append(Problem(message, span or self.root.span, notes, label))

    def table(self, key: str) -> Table:
        value = self.root.get(key)
        return value if isinstance(value, Table) else Table(self.root.span)

    def settings(self, key: str, cls: type[T]) -> T | None:
        skip = {"phases"} if key == "train" else ()
        settings: T | None = structure(
            self.table(key), cls, owner=f"[{key}]", problems=self.problems, skip=skip
        )
        return settings

    def lock(self) -> dict[str, Any]:
        return self.table("lock").plain()

    def parts(self, key: str, kind: Kind, *, skip: Collection[str]) -> dict[str, Part]:
        """Every table below `[key]` as a component with its options, or as a stand-in."""
        found: dict[str, Part] = {}
        for name, table in self.table(key).tables():
            if self.offline and kind in _NOT_FOR_LOOKING and self.is_missing(kind, name, table):
                continue
            found[name] = self.part(name, kind, table, skip) or self.stand_in(name, kind, table)
        return found

    def stand_in(self, name: str, kind: Kind, table: Table) -> StandIn:
        """What stays known of a part with a problem: facts that no option changes."""
        try:
            component = self.registry.find(kind, str(table.get("use", name)))
        except NotFound:
            return StandIn(name, Component(kind, name, ""), ())
        facts: dict[str, Any] = dict.fromkeys(("check", "views", "describe"))
        if callable(component.offers):
            facts |= {"offers": (), "provider": ""}  # it may offer anything
        if callable(component.needs):
            facts["needs"] = {}
        return StandIn(name, attrs.evolve(component, **facts), ())

    def is_missing(self, kind: Kind, name: str, table: Table) -> bool:
        """Whether the component that a table names is not installed here."""
        try:
            self.registry.find(kind, str(table.get("use", name)))
        except NotFound:
            return True
        return False

    def part(self, name: str, kind: Kind, table: Table, skip: Collection[str]) -> Part | None:
        named = table.entry("use")
        default = "" if kind in ("generator", "discriminator", "dataset") else name
        use = named.value if named else default
        span = named.value_span if named else table.span
        if not isinstance(use, str) or not use:
            self.problem(
                "[data] does not say which dataset to use"
                if kind == "dataset"
                else f"{kind} '{name}' does not say which component to use",
                span,
                f'write `use = "..."`; `ganforge list {kind}` shows what there is',
            )
            return None
        component = self.find(kind, use, span)
        if component is None:
            return None
        options = structure(
            table,
            component.options,
            owner=f"{kind} '{use}'",
            problems=self.problems,
            skip=skip,
            provider=f"{component.provider} {component.version}; "
            f"see `ganforge show {kind}/{component.name}`",
        )
        return None if options is None else Part(name, component, options)

    def find(self, kind: Kind, use: str, span: Span | None) -> Component | None:
        try:
            return self.registry.find(kind, use)
        except NotFound as error:
            self.problem(error.message, span, *error.notes)
            return None

    def names(self, entry: Entry | None) -> tuple[str, ...] | None:
        """The value of a key that takes a name or a list of names."""
        if entry is None:
            return None
        value = [entry.value] if isinstance(entry.value, str) else entry.value
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.problem(
            f"'{entry.key}' takes a name or a list of names, not {_shown(entry.value)}",
            entry.value_span,
        )
        return None

    def known_name(self, entry: Entry, what: str, known: Iterable[str]) -> str | None:
        """The value of a key that takes one name of these; anything else is reported."""
        if not isinstance(entry.value, str):
            self.problem(
                f"'{entry.key}' must be the name of a {what}, not {_shown(entry.value)}",
                entry.value_span,
            )
        elif entry.value not in known:
            self.unknown(what, entry.value, known, entry.value_span)
        else:
            return entry.value
        return None

    def unknown(self, what: str, name: str, known: Iterable[str], span: Span | None) -> None:
        """Tell that a name is nobody's; not where its table is there and has a problem itself."""
        if name in self.table(_TABLES.get(what, "")):
            return
        known = sorted(known)
        close = nearest(name, known)
        self.problem(
            f"there is no {what} '{name}'",
            span,
            f"there are: {', '.join(known) or 'none'}",
            label=f"did you mean '{close[0]}'?" if close else "",
        )

    def refused(
        self, component: Component, name: str, table: Table, *arguments: Any, **named: Any
    ) -> Any:
        """Call a fact function of a manifest; a refusal becomes a problem at the option's line.

        name: of the fact, such as "check". Whatever else a third party's function raises, and what
        it must not return, is told as that plugin's mistake.
        """
        fact = getattr(component, name)
        if fact is None:
            return None
        try:
            result = fact(*arguments, **named)
        except Impossible as error:
            entry = table.entry(error.key) if error.key else None
            self.problem(str(error), entry.value_span if entry else table.span)
            return None
        except GanforgeError as error:
            self.problem(str(error), table.span)
            return None
        except Exception as error:
            if component.provider == BUILT_IN:
                raise
            what = f"raised {one_line(error, fact)}"
        else:
            fault = _FAULTS[name](result) if name in _FAULTS else ""
            if not fault:
                return result
            what = f"returned {fault}"
        self.problem(
            f"`{name}` of {component.kind} '{component.name}' {what}",
            table.span,
            f"this is a mistake in {component.provider} {component.version}",
        )
        return None

    def offered(self, part: Part, table: Table) -> frozenset[str]:
        """What a network offers beside data or scores, with its options."""
        component = part.component
        if not callable(component.offers):
            return component.offered(part.options)
        return frozenset(self.refused(component, "offers", table, part.options) or ())

    def addresses(self) -> list[str]:
        return [
            f"{key}.{name}"
            for key in ("generators", "discriminators")
            for name, _ in self.table(key).tables()
        ]

    def network(self, name: str, entry: Entry | None) -> str | None:
        """`generators.NAME` for a full address or for a name that only one network has."""
        addresses = self.addresses()
        if name in addresses:
            return name
        short = {"generator": "generators.main", "discriminator": "discriminators.main"}
        if short.get(name) in addresses:
            return short[name]
        matches = [address for address in addresses if Address.parse(address).name == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            self.problem(
                f"'{name}' is the name of {len(matches)} networks",
                self.place(entry, name),
                f"write one of: {', '.join(matches)}",
            )
        else:
            self.unknown("network", name, addresses, self.place(entry, name))
        return None

    def place(self, entry: Entry | None, name: str) -> Span | None:
        """Where a name is written: a key's value, or an item of it."""
        if entry is None or not isinstance(entry.value, list) or name not in entry.value:
            return entry.value_span if entry else None
        return item_span(entry, entry.value.index(name))

    def chosen_names(self, table: Table, known: Iterable[str], what: str) -> tuple[str, ...]:
        """`on` of a table: names among `known`, all of them where it is not written."""
        entry = table.entry("on")
        if entry is None:
            return tuple(known)
        names = self.names(entry) or ()
        for name in names:
            if name not in known:
                self.unknown(what, name, known, self.place(entry, name))
        return tuple(name for name in names if name in known)

    def every(self, table: Table) -> int:
        entry = table.entry("every")
        if entry is None:
            return 1
        if isinstance(entry.value, int) and not isinstance(entry.value, bool) and entry.value > 0:
            return entry.value
        self.problem("'every' takes a whole number from 1", entry.value_span)
        return 1


def _fault_of_names(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        names = list(value)
        if all(isinstance(name, str) for name in names):
            return ""
    return f"{_shown(value)}, not names"


def _fault_of_needs(value: Any) -> str:
    if isinstance(value, Mapping) and not any(map(_fault_of_names, value.values())):
        return ""
    return f"{_shown(value)}, not names from the vocabulary for each side"


def _fault_of_views(value: Any) -> str:
    if isinstance(value, Mapping) and value and all(isinstance(s, Spec) for s in value.values()):
        return ""
    return f"{_shown(value)}, not a spec for each view by its name"


def _fault_of_description(value: Any) -> str:
    if not isinstance(value, DataDescription):
        return f"{_shown(value)}, not a DataDescription"
    if not isinstance(value.domains, Mapping) or not all(isinstance(n, str) for n in value.domains):
        return "domains that are not specs by name"
    for name, spec in value.domains.items():
        if type(spec) not in KINDS_OF_DATA.values():
            known = ", ".join(kind.__name__ for kind in KINDS_OF_DATA.values())
            return f"{type(spec).__name__} for domain '{name}'; the kinds of data are: {known}"
        if name == "noise":
            return "a domain 'noise', which is the name of what is drawn"
        if not _is_sized(spec):
            return f"{spec!r} for domain '{name}', whose sizes are not whole numbers from 1"
    if not all(isinstance(group, (tuple, list)) for group in _several(value.aligned)):
        return '`aligned` that holds no groups of names, as in (("image", "label"),)'
    groups = [*value.aligned, value.labelled, value.labelled.values(), value.mismatched]
    for name in (name for group in groups for name in group):
        if name not in value.domains:
            return f"'{name}' in `aligned`, but no domain of that name"
    if not isinstance(value.counts, Mapping) or not all(map(_are_counts, value.counts.values())):
        return "`counts` that holds no number of rows for each domain of each split"
    return _fault_of_notes(value)


def _fault_of_notes(value: DataDescription) -> str:
    """What is wrong with what people are shown of data."""
    if not _are_counts(value.left_out):
        return "`left_out` that holds no number of files for each kind"
    classes: Any = value.classes
    if not isinstance(classes, Mapping) or not all(map(_are_counts, classes.values())):
        return "`classes` that holds no number of rows for each class of each split"
    notes: Any = value.notes
    if isinstance(notes, str) or not all(isinstance(note, str) for note in notes):
        return "`notes` that are no sentences, as in ('nothing is held out',)"
    pictures: Any = value.pictures
    files = pictures.values() if isinstance(pictures, Mapping) else [None]
    if not all(isinstance(of, (tuple, list)) and _are_paths(of) for of in files):
        return "`pictures` that holds no paths for each domain"
    return ""


def _are_paths(files: Iterable[Any]) -> bool:
    return all(isinstance(file, Path) for file in files)


def _is_sized(spec: Spec) -> bool:
    """Whether all lengths of its shape are whole numbers from 1."""
    lengths: Any = spec.shape
    return all(isinstance(length, Integral) and int(length) > 0 for length in lengths)


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _are_counts(rows: Any) -> bool:
    numbers = rows.values() if isinstance(rows, Mapping) else (None,)
    return all(isinstance(count, Integral) and int(count) >= 0 for count in numbers)


# What fact functions return -> what is wrong with it.
_FAULTS: Mapping[str, Callable[[Any], str]] = {
    "offers": _fault_of_names,
    "needs": _fault_of_needs,
    "views": _fault_of_views,
    "describe": _fault_of_description,
}

_TABLES = {kind: table for table, kind in KIND.items()}


def _shown(value: Any) -> str:
    return "a table" if isinstance(value, (Table, dict)) else repr(value)
