"""What may stand where in a recipe, as far as that is known without any component.

`checked` takes out what is misplaced or of the wrong kind and tells about it, so that what comes
after it can rely on the shape: tables where there must be tables, and names that are names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Literal

from attrs import evolve

from ganforge.recipes.problems import Problem
from ganforge.recipes.source import Span
from ganforge.recipes.suggestions import foreign, nearest
from ganforge.recipes.toml_tables import Entry, Table, toml_text

VERSION = 1

IMAGE_KEYS = ("size", "load", "fit", "flip", "channels", "resample", "skip_broken")
DATA_KEYS = ("use", *IMAGE_KEYS)
NETWORK_KEYS = (
    *("use", "like", "from", "to", "on", "given", "optimizer", "schedule", "clip", "ema", "init"),
    *("freeze", "off"),
)
LOSS_KEYS = ("use", "like", "weight", "every", "on", "start", "stop", "off")
AUGMENTOR_KEYS = ("use", "on", "every", "off")
HOOK_KEYS = ("use", "off")
METRIC_KEYS = ("use", "off")

# Tables of named components, and the keys in them that belong to the core.
RESERVED: dict[str, tuple[str, ...]] = {
    "generators": NETWORK_KEYS,
    "discriminators": NETWORK_KEYS,
    "losses": LOSS_KEYS,
    "augmentors": AUGMENTOR_KEYS,
    "hooks": HOOK_KEYS,
    "metrics": METRIC_KEYS,
}
SINGULAR = {"generators": "generator", "discriminators": "discriminator"}
KIND = {
    **SINGULAR,
    "losses": "loss",
    "augmentors": "augmentor",
    "hooks": "hook",
    "metrics": "metric",
    "domains": "domain",
}


def reserved_keys(kind: str) -> tuple[str, ...]:
    """The option names that no component of this kind may have, since they mean something else."""
    tables = {KIND[table]: keys for table, keys in RESERVED.items()}
    return tables.get(kind, DATA_KEYS)


Layer = Literal["recipe", "preview", "--set"]

_NAMED = ("domains", *RESERVED)
_ANYWHERE = (
    *("data", "train", "noise", "domains", "optimizer", "generator", "generators"),
    *("discriminator", "discriminators", "losses", "augmentors", "hooks", "metrics"),
)
_TOP = {
    "recipe": ("recipe", "name", "extends", *_ANYWHERE, "preview", "lock"),
    "preview": _ANYWHERE,
    "--set": ("name", *_ANYWHERE),
}
_TEXTS = ("use", "like", "to")
_SUBTABLES = ("optimizer", "schedule", "init")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def checked(document: Table, problems: list[Problem], layer: Layer = "recipe") -> Table:
    """The part of a document whose shape is right; problems about the rest are appended."""
    return _Checker(problems, layer).document(document)


class _Checker:
    def __init__(self, problems: list[Problem], layer: Layer) -> None:
        self.problems = problems
        self.layer = layer
        self.prefix = "preview." if layer == "preview" else ""

    def document(self, document: Table) -> Table:
        kept = self.keep(self.unmixed(document), self.top_level)
        for plural, singular in SINGULAR.items():
            short, long = kept.entry(singular), kept.entry(plural)
            if short and long:
                message = f"[{singular}] is the only {singular}, but there is also [{plural}]"
                label = f"write [{plural}.NAME] for each"
                self.problem(
                    message, short.key_span, label=label, related=((long.key_span, "here"),)
                )
                del kept.entries[singular]
        return kept

    # --- tools ----------------------------------------------------------------------------------

    def problem(self, message: str, span: Span, *notes: str, label: str = "", **more: Any) -> None:
        self.problems.append(Problem(message, span, notes, label, **more))

    def keep(self, table: Table, check: Callable[[Entry], Entry | None]) -> Table:
        """The table with the entries that a check lets through, perhaps changed."""
        kept = Table(table.span)
        for entry in table:
            if good := check(entry):
                kept.entries[entry.key] = good
        return kept

    def table_at(self, entry: Entry, path: str) -> Table | None:
        """The value of an entry that must be a table."""
        if isinstance(entry.value, Table):
            return entry.value
        value, named = entry.value, entry.key in _NAMED
        label = f"write [{path}.NAME] for each" if named else f"write [{path}] and its keys below"
        if isinstance(value, str) and not named:
            label = f"write [{path}] and below it use = {toml_text(value)}"
        elif value is False:
            label = f"write [{path}] and below it off = true"
        if self.layer == "--set":
            label = f"write {path}.{'off=true' if value is False else f'use={value}'}"
            label = label if isinstance(value, (str, bool)) and not named else ""
        self.problem(
            f"'{path}' must be a table, not {_given(entry)}", entry.value_span, label=label
        )
        return None

    def well_named(self, entry: Entry, kind: str) -> bool:
        if _NAME.fullmatch(entry.key):
            return True
        better = slug(entry.key)
        self.problem(
            f"'{entry.key}' cannot be the name of a {kind}",
            entry.key_span,
            "names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit",
            label=f"write {better}" if better else "",
        )
        return False

    # --- the top level --------------------------------------------------------------------------

    def top_level(self, entry: Entry) -> Entry | None:
        key = entry.key
        if key not in _TOP[self.layer]:
            self.unknown(entry)
            return None
        if key in ("recipe", "lock"):
            return entry
        if key in ("name", "extends"):
            return entry if self.text(entry, key) else None
        table = self.table_at(entry, self.prefix + key)
        if table is None:
            return None
        if key == "preview":
            return evolve(entry, value=_Checker(self.problems, "preview").document(table))
        if key in _NAMED:
            return evolve(entry, value=self.named(table, key))
        if key in SINGULAR.values():
            return self.component(entry, self.prefix + key, NETWORK_KEYS)
        return self.settings(entry, table)

    def text(self, entry: Entry, path: str) -> bool:
        """`name` and `extends`."""
        value = entry.value
        if not isinstance(value, str) or not value:
            more = ["a recipe extends only one other"] if isinstance(value, list) else []
            message = f"'{path}' must be text, not {_given(entry)}"
            self.problem(message, entry.value_span, *more)
        elif path == "name" and not _NAME.fullmatch(value):
            self.problem(
                f"{toml_text(value)} cannot be the name of a run folder",
                entry.value_span,
                "names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit",
                label=f'write "{slug(value)}"' if slug(value) else "",
            )
        else:
            return True
        return False

    def unknown(self, entry: Entry) -> None:
        key, table = entry.key, isinstance(entry.value, Table)
        known = [
            k
            for k in _TOP[self.layer]
            if k != "lock" and (not table or k in (*_ANYWHERE, "preview"))
        ]
        if self.layer != "recipe" and key in _TOP["recipe"]:
            what = "[preview]" if self.layer == "preview" else "--set"
            self.problem(f"'{key}' is not allowed in {what}", entry.key_span)
            return
        sure = foreign(key, "")
        close = sure or next(iter(nearest(key, known)), "")
        owner = "[preview]" if self.layer == "preview" else "a recipe"
        what = f"table [{key}]" if table else f"key '{key}' of its own"
        notes = [] if sure else [f"there are: {', '.join(known)}"]
        shown = f"[{self.prefix}{close}]" if close in known and table else f"'{close}'"
        label = f"did you mean {shown}?" if close else ""
        self.problem(f"{owner} has no {what}", entry.key_span, *notes, label=label)

    def settings(self, entry: Entry, table: Table) -> Entry | None:
        """[data], [train], [noise], [optimizer]"""
        if entry.key == "data":
            return self.component(entry, f"{self.prefix}data", ("use",))
        if entry.key == "optimizer":
            return self.subtable(entry, f"{self.prefix}optimizer")
        if entry.key == "train" and (phases := table.entry("phases")):
            found = self.table_at(phases, f"{self.prefix}train.phases")
            kept = Table(table.span, {k: e for k, e in table.entries.items() if k != "phases"})
            if found is not None:
                named = self.named(found, "train.phases")
                kept.entries["phases"] = evolve(phases, value=named)
            return evolve(entry, value=kept)
        return entry

    # --- components -----------------------------------------------------------------------------

    def unmixed(self, document: Table) -> Table:
        """`[generator.horse]` is reported, and read as the `[generators.horse]` that it means."""
        entries = dict(document.entries)
        for plural, singular in SINGULAR.items():
            short = entries.get(singular)
            if short is None or not isinstance(short.value, Table):
                continue
            moved = {e.key: e for e in short.value if _is_network(e)}
            for entry in moved.values():
                message = f"[{singular}] is the only {singular} and has no name"
                self.problem(message, entry.key_span, label=f"write [{plural}.{entry.key}]")
            own = {key: e for key, e in short.value.entries.items() if key not in moved}
            entries[singular] = evolve(short, value=Table(short.value.span, own))
            if moved:
                long = entries.get(plural)
                if long and isinstance(long.value, Table):
                    moved = {**long.value.entries, **moved}
                entries[plural] = evolve(short, key=plural, value=Table(short.value.span, moved))
            if moved and not own:
                del entries[singular]
        return Table(document.span, entries)

    def named(self, table: Table, key: str) -> Table:
        """`[losses]` and its like: tables with a name each."""
        kind = KIND.get(key, "phase")

        def check(entry: Entry) -> Entry | None:
            path = f"{self.prefix}{key}.{entry.key}"
            if not isinstance(entry.value, Table) and entry.key in RESERVED.get(key, ()):
                single = f"[{SINGULAR[key]}], or " if key in SINGULAR else ""
                message = f"[{key}] holds one table per name, and '{entry.key}' is not a table"
                self.problem(message, entry.key_span, label=f"write it below {single}[{key}.NAME]")
                return None
            if not self.well_named(entry, kind) or self.table_at(entry, path) is None:
                return None
            return self.component(entry, path, RESERVED.get(key, ("off",)))

        named = self.keep(table, check)
        if key in SINGULAR and "use" in table and not any(table.tables()):
            main = Entry("main", table.span, table, table.span)  # as [generator] would be
            named.entries["main"] = main
        return named

    def component(self, entry: Entry, path: str, reserved: Collection[str]) -> Entry | None:
        """The table of one component; None if it is unclear which component it is."""
        lost: list[str] = []

        def check(inner: Entry) -> Entry | None:
            inside = f"{path}.{inner.key}"
            good: Entry | None = inner
            if inner.key in reserved:
                good = self.reserved(inner, inside)
            if good is None:
                lost.append(inner.key)
            return good

        kept = self.keep(entry.value, check)
        return None if {"use", "like"} & set(lost) else evolve(entry, value=kept)

    def reserved(self, entry: Entry, path: str) -> Entry | None:
        """A key of the core in the table of a component."""
        key, value = entry.key, entry.value
        if key in _SUBTABLES:
            return self.subtable(entry, path)
        if key in _TEXTS and not (isinstance(value, str) and value):
            noun = "a component" if key == "use" else "a domain" if key == "to" else "another one"
            self.problem(
                f"'{path}' must be the name of {noun}, not {_given(entry)}", entry.value_span
            )
            return None
        if key == "off" and not isinstance(value, bool):
            label = "write true" if value in (1, "true", "True", "yes") else ""
            message = f"'{path}' must be true or false, not {_given(entry)}"
            self.problem(message, entry.value_span, label=label)
            return None
        if isinstance(value, Table) and key != "weight":
            self.problem(f"'{path}' must be a value, not a table", entry.key_span)
            return None
        return entry

    def subtable(self, entry: Entry, path: str) -> Entry | None:
        """`optimizer`, `schedule` and `init`."""
        table = self.table_at_inline(entry, path)
        if table is None:
            return None

        def check(inner: Entry) -> Entry | None:
            inside = f"{path}.{inner.key}"
            if inner.key == "schedule" and entry.key == "optimizer":
                return self.subtable(inner, inside)
            return self.reserved(inner, inside) if inner.key == "use" else inner

        return evolve(entry, value=self.keep(table, check))

    def table_at_inline(self, entry: Entry, path: str) -> Table | None:
        if isinstance(entry.value, Table):
            return entry.value
        text = isinstance(entry.value, str)
        key = ("run" if text else "normal") if entry.key == "init" else "use"
        shown = toml_text(entry.value) if text or key == "normal" else "..."
        label = f"write {entry.key} = {{ {key} = {shown} }}"
        self.problem(
            f"'{path}' must be a table, not {_given(entry)}", entry.value_span, label=label
        )
        return None


def _is_network(entry: Entry) -> bool:
    """Whether a table within `[generator]` looks like a network's own."""
    named = isinstance(entry.value, Table) and entry.key not in _SUBTABLES
    return named and any(key in entry.value for key in ("use", "like", "from", "to", "on"))


def slug(text: str) -> str:
    """The nearest name that a network, a loss or a run folder may have; "" if nothing is left."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.casefold()).strip("-_")


def _given(entry: Entry) -> str:
    value = entry.value
    if isinstance(value, Table):
        return "a table"
    return "a list" if isinstance(value, list) else toml_text(value)
