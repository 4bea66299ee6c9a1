"""Reading a recipe's tables: finding components, typing options, noting what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import Component, Impossible, Kind
from ganforge.planning.plan import Part
from ganforge.recipes.grammar import KIND
from ganforge.recipes.problems import Problem
from ganforge.recipes.recipe import Recipe
from ganforge.recipes.source import Span
from ganforge.recipes.suggestions import nearest
from ganforge.recipes.toml_tables import Entry, Table, item_span
from ganforge.recipes.typed_options import structure
from ganforge.registry.registry import NotFound, Registry

T = TypeVar("T")

# Kinds that a run was trained with and that looking at it does without.
_NOT_FOR_LOOKING = ("loss", "augmentor", "hook", "metric")


class Reader:
    """What the layers above share. `problems` collects; nothing here raises for a mistake."""

    def __init__(self, recipe: Recipe, registry: Registry, offline: bool) -> None:
        self.recipe = recipe
        self.registry = registry
        self.offline = offline
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
        """Every table below `[key]` as a component with its options."""
        found = {}
        for name, table in self.table(key).tables():
            if self.offline and kind in _NOT_FOR_LOOKING and self.is_missing(kind, name, table):
                continue
            part = self.part(name, kind, table, skip)
            if part is not None:
                found[name] = part
        return found

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
        """The value of a key that takes one name of these; what else it is, is told."""
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

    def refused(self, fact: Any, table: Table, *arguments: Any, **named: Any) -> Any:
        """Call a fact function of a manifest; a refusal becomes a problem at the option's line."""
        if fact is None:
            return None
        try:
            return fact(*arguments, **named)
        except Impossible as error:
            entry = table.entry(error.key) if error.key else None
            self.problem(str(error), entry.value_span if entry else table.span)
        except GanforgeError as error:
            self.problem(str(error), table.span)
        return None

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
        matches = [address for address in addresses if address.split(".", 1)[1] == name]
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


_TABLES = {kind: table for table, kind in KIND.items()}


def _shown(value: Any) -> str:
    return "a table" if isinstance(value, (Table, dict)) else repr(value)
